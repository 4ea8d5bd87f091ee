"""Named sets of defaults for a run; a flag overrides any of them."""

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A first run: a minute on two cores with the eager engine.
    "names": {
        "steps": 125,
        "batch_size": 8,
        "shards": 8,
        "learning_rate": 0.02,
        "held_out": 0.05,
    },
    # microgpt as published: one document a step.
    "microgpt": {"steps": 1000, "batch_size": 1, "shards": 1, "seed": 42},
}
