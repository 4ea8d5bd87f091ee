"""What the model asks of a kind of number.

`model.py` is written once. It adds, multiplies and raises to powers with Python's operators; the
few things that operators cannot say stand in `Arithmetic`, one instance for each kind of number:
`VALUES` remember how they were made and can be differentiated, `FLOATS` only compute.

Three of the operations look at data, not at expressions: which row of the embedding a token takes,
which probability belongs to the target, which logit is the largest. They are named here so that a
kind of number that records operations can record these too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from engine.value import Value

Scalar: TypeAlias = Any  # whatever has Python's + - * ** with its kind and with plain numbers
Vector: TypeAlias = Sequence[Scalar]

# What Python raises where hardware would go on with NaN or infinity: log(0), 0 ** -1, an overflow.
OUT_OF_FLOATS = (ValueError, ZeroDivisionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The operations of one kind of number that have no operator."""

    exp: Callable[[Scalar], Scalar]
    log: Callable[[Scalar], Scalar]
    relu: Callable[[Scalar], Scalar]
    largest: Callable[[Vector], Scalar]  # without gradient: it only shifts the softmax
    row: Callable[[Sequence[Vector], Any], Vector]  # (matrix, token) -> row
    pick: Callable[[Vector, Any], Scalar]  # (vector, token) -> element


def _index(items: Sequence[Any], token: int) -> Any:
    return items[token]


VALUES = Arithmetic(
    exp=Value.exp,
    log=Value.log,
    relu=Value.relu,
    largest=lambda values: max(value.data for value in values),
    row=_index,
    pick=_index,
)

FLOATS = Arithmetic(
    exp=math.exp,
    log=math.log,
    relu=lambda x: max(0, x),
    largest=max,
    row=_index,
    pick=_index,
)
