"""How many floating-point operations one document asks for, counted while the model runs.

`engine/model.py` is written for any kind of number; here it runs on numbers that only count. The
backward pass is counted as a careful implementation would do it: a product sends one product to
each factor, a sum sends its gradient on as it is, and a value with k uses adds k gradients up with
k - 1 additions. An exponential, a logarithm and a power count as one operation each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config import ModelConfig
from engine.model import document_loss
from engine.params import as_matrices, layout_of
from engine.scalar import Arithmetic


@dataclass(slots=True)
class Tally:
    """The operations so far; those of the backward pass are known when their forward part is."""

    forward: int = 0
    backward: int = 0


class Counted:
    """A number without a value, which counts what is done with it."""

    __slots__ = ("is_used", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.is_used = False

    def __add__(self, other: "Counted | float") -> "Counted":
        return self._result(other, products=0)

    def __mul__(self, other: "Counted | float") -> "Counted":
        return self._result(other, products=1)

    def __pow__(self, exponent: float) -> "Counted":
        return self.apply(products=3)  # exponent * x ** (exponent - 1) * gradient

    def __radd__(self, other: float) -> "Counted":
        return self if other == 0 else self + other  # a sum starts from 0: no work

    def __sub__(self, other: float) -> "Counted":
        return self + other

    def __neg__(self) -> "Counted":
        return self * -1

    def apply(self, products: int) -> "Counted":
        """Count a function of this number alone, and the products of its derivative."""
        self.tally.forward += 1
        self._use(products)
        return Counted(self.tally)

    def _result(self, other: "Counted | float", products: int) -> "Counted":
        self.tally.forward += 1
        self._use(products)
        if isinstance(other, Counted):
            other._use(products)
        return Counted(self.tally)

    def _use(self, products: int) -> None:
        self.tally.backward += products + self.is_used  # the first use stores, the others add
        self.is_used = True


COUNTS = Arithmetic(
    exp=lambda x: x.apply(products=1),
    log=lambda x: x.apply(products=1),
    relu=lambda x: x.apply(products=1),
    largest=lambda values: 0.0,
    row=lambda matrix, token: matrix[token],
    pick=lambda vector, token: vector[token],
)


def count_flops(config: ModelConfig, tokens: Sequence[int]) -> Tally:
    """Count the operations of one document's loss and gradient."""
    tally = Tally()
    params = [Counted(tally) for _ in range(config.num_params)]
    document_loss(COUNTS, config, as_matrices(layout_of(config), params), tokens)
    return tally


def mean_flops(config: ModelConfig, documents: Sequence[Sequence[int]]) -> float:
    """Give the mean count over documents; those of one length ask for the same."""
    of_length = {len(tokens): tokens for tokens in documents}
    counts = {length: count_flops(config, tokens) for length, tokens in of_length.items()}
    totals = [counts[len(tokens)].forward + counts[len(tokens)].backward for tokens in documents]
    return sum(totals) / len(totals)
