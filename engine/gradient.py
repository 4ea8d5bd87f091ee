"""What a gradient is before it is divided, and what an engine must be able to do with it.

There is more than one engine: `engine.eager` to be read, others to be fast. Worker, coordinator and
reference know them only as an `Engine`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.params import Flat
from engine.shards import Tokens


@dataclass(frozen=True, slots=True)
class GradientSum:
    """The summed loss, in nats, and gradient, (num_params,), of one document or of several."""

    loss: float
    grad: Flat


class Engine(Protocol):
    """How one model is differentiated and updated.

    Nothing here raises where arithmetic leaves the floats, but `update`, which may: the results
    hold NaN or infinity then, and whoever uses them judges. A document has at least one position.
    """

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        """Cut a shard into parts, in order, between which a caller may look up from its work.

        The left-to-right sum of their gradients is the shard's.
        """

    def probe_lengths(self) -> Sequence[int]:
        """Give the numbers of positions that it takes to see all of this engine's arithmetic."""

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        """Sum the documents' losses and gradients from left to right."""

    def losses(self, params: Flat, documents: Sequence[Tokens]) -> list[float]:
        """Give each document's loss, forward only."""

    def plus(self, a: GradientSum, b: GradientSum) -> GradientSum:
        """Add two sums; the memory of the left one may become that of the result."""

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        """Give the parameters and moments after one step of Adam, counted from 0.

        Args:
            grad: the mean over the global batch.

        Raises:
            OverflowError: something of it is not finite. An infinite moment counts: it would
                divide its parameter's step down to a harmless zero.
        """
