"""The eager engine: a scalar graph for each document, and a walk back through it.

A tenth of a second a document or so. This is what a reader studies, and what every other path is
compared with.
"""

import math
from array import array
from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import add

from engine.config import ModelConfig, TrainConfig
from engine.gradient import GradientSum
from engine.model import document_loss
from engine.optimizer import Moments, adam_update
from engine.params import Flat, as_matrices, layout_of
from engine.scalar import FLOATS, OUT_OF_FLOATS, VALUES
from engine.shards import Tokens
from engine.value import Value


class Eager:
    """An `engine.gradient.Engine` in plain Python: one document at a time, one number at a time."""

    def __init__(self, model: ModelConfig) -> None:
        self._model = model

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        return [[tokens] for tokens in documents]

    def probe_lengths(self) -> Sequence[int]:
        """One is enough: a long document's graph holds that of each of its beginnings."""
        return [self._model.block_size]

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        """Sum the documents from left to right, each differentiated from zero."""
        return reduce(
            self.plus, (document_gradient(self._model, params, tokens) for tokens in documents)
        )

    def losses(self, params: Flat, documents: Sequence[Tokens]) -> list[float]:
        matrices = as_matrices(layout_of(self._model), params.tolist())
        losses = []
        for tokens in documents:
            try:
                losses.append(document_loss(FLOATS, self._model, matrices, tokens))
            except OUT_OF_FLOATS:
                losses.append(math.nan)
        return losses

    def plus(self, a: GradientSum, b: GradientSum) -> GradientSum:
        assert len(a.grad) == len(b.grad)
        return GradientSum(a.loss + b.loss, array("d", map(add, a.grad, b.grad)))

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        updated, moments = adam_update(config, step, params, moments, grad)
        if not all(map(math.isfinite, chain(updated, moments.m, moments.v))):
            raise OverflowError("the update leaves the floats")
        return updated, moments


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
