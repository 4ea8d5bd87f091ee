"""The loss on held-out documents: does the model learn names, or only those it was shown?"""

import math
from collections.abc import Sequence

from engine.gradient import Engine
from engine.params import Flat
from engine.shards import Tokens

DOCUMENTS_MAX = 256  # a fixed subset, the first ones: an evaluation must not outlast a step


def held_out_loss(engine: Engine, params: Flat, documents: Sequence[Tokens]) -> float:
    """Give the mean loss, in nats, over the first documents of the held-out split.

    NaN where the arithmetic leaves the floats.
    """
    assert documents, "there is something held out"
    losses = engine.losses(params, documents[:DOCUMENTS_MAX])
    total = 0.0
    for loss in losses:
        total += loss
    mean = total / len(losses)
    return mean if math.isfinite(mean) else math.nan
