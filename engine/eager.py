"""The eager engine: a scalar graph for each document, and a walk back through it.

A tenth of a second a document or so. This is what a reader studies, and what every other path is
compared with.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from engine.config import ModelConfig
from engine.model import document_loss
from engine.params import Flat, as_matrices, layout_of
from engine.scalar import OUT_OF_FLOATS, VALUES
from engine.shards import Tokens
from engine.value import Value


@dataclass(frozen=True, slots=True)
class GradientSum:
    """The summed loss, in nats, and gradient, (num_params,), of one document or of several."""

    loss: float
    grad: Flat

    def plus(self, other: "GradientSum") -> "GradientSum":
        assert len(self.grad) == len(other.grad)
        return GradientSum(self.loss + other.loss, array("d", map(add, self.grad, other.grad)))


def document_gradient(config: ModelConfig, params: Sequence[float], tokens: Tokens) -> GradientSum:
    """Differentiate one document's loss by every parameter.

    Where the arithmetic leaves the floats (log 0, an overflow), Python may raise where hardware
    would give NaN or infinity; all is NaN then. What is not finite, the coordinator judges.
    """
    assert len(params) == config.num_params
    assert len(tokens) >= 2, "a document has at least one position"
    leaves = [Value(param) for param in params]
    try:
        loss = document_loss(VALUES, config, as_matrices(layout_of(config), leaves), tokens)
        loss.backward()
    except OUT_OF_FLOATS:
        return GradientSum(math.nan, array("d", [math.nan]) * config.num_params)
    return GradientSum(loss.data, array("d", (leaf.grad for leaf in leaves)))
