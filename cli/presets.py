"""Named sets of defaults for a run; a flag overrides any of them."""

from collections.abc import Mapping
from typing import Any

DEFAULT_PRESET = "names"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A first run: seconds on two cores; four passes over the canonical names. Eight shards of eight
    # documents, as many as the compiled engine replays side by side.
    "names": {
        "steps": 2000,
        "batch_size": 64,
        "shards": 8,
        "held_out": 0.05,
    },
    # microgpt as published: one document a step.
    "microgpt": {"steps": 1000, "batch_size": 1, "shards": 1, "seed": 42},
}
