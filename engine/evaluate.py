"""The loss on held-out documents: does the model learn names, or only those it was shown?"""

import math
from collections.abc import Sequence

from engine.config import ModelConfig
from engine.model import document_loss
from engine.params import Flat, as_matrices, layout_of
from engine.scalar import FLOATS, OUT_OF_FLOATS
from engine.shards import Tokens

DOCUMENTS_MAX = 256  # a fixed subset, the first ones: an evaluation must not outlast a step


def held_out_loss(config: ModelConfig, params: Flat, documents: Sequence[Tokens]) -> float:
    """Give the mean loss, in nats, over the first documents of the held-out split.

    NaN where the arithmetic leaves the floats.
    """
    assert documents, "there is something held out"
    matrices = as_matrices(layout_of(config), params.tolist())
    chosen = documents[:DOCUMENTS_MAX]
    total = 0.0
    try:
        for tokens in chosen:
            total += document_loss(FLOATS, config, matrices, tokens)
    except OUT_OF_FLOATS:
        return math.nan
    return total / len(chosen)
