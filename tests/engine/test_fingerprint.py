"""The fingerprint: the same for the same arithmetic, and another for the last bit of one number."""

import math
from array import array
from collections.abc import Sequence

import pytest

from engine.compiled import Compiled
from engine.config import ModelConfig
from engine.eager import Eager
from engine.fingerprint import fingerprint
from engine.gradient import GradientSum
from engine.params import Flat
from engine.shards import Tokens

MODEL = ModelConfig(vocab_size=5, n_embd=2, n_head=1, block_size=6)


class OffBy(Eager):
    """Differs in the last bit of one number, for documents of one length."""

    def __init__(self, place: int, positions: int) -> None:
        super().__init__(MODEL)
        self._place, self._positions = place, positions

    def probe_lengths(self) -> Sequence[int]:
        return range(1, MODEL.block_size + 1)

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        total = super().gradient(params, documents)
        if self._positions not in [len(tokens) - 1 for tokens in documents]:
            return total
        grad = array("d", total.grad)
        if self._place < 0:
            return GradientSum(math.nextafter(total.loss, 0.0), grad)
        grad[self._place] = math.nextafter(grad[self._place], math.inf)
        return GradientSum(total.loss, grad)


@pytest.mark.unit
def test_the_same_arithmetic_has_the_same_fingerprint() -> None:
    assert fingerprint(Eager(MODEL), MODEL) == fingerprint(Eager(MODEL), MODEL)
    assert len(fingerprint(Eager(MODEL), MODEL)) == 64


@pytest.mark.unit
@pytest.mark.parametrize("positions", range(1, MODEL.block_size + 1))
@pytest.mark.parametrize("place", [-1, 0, MODEL.num_params - 1], ids=["loss", "first", "last"])
def test_the_last_bit_of_one_number_at_one_length_shows(place: int, positions: int) -> None:
    """A C library that rounds one exponential otherwise must not get past this."""
    same = fingerprint(OffBy(0, positions=99), MODEL)

    assert fingerprint(OffBy(place, positions), MODEL) != same


def test_two_engines_differ_and_one_compiled_twice_does_not() -> None:
    compiled = [fingerprint(Compiled(MODEL), MODEL) for _ in range(2)]

    assert compiled[0] == compiled[1] != fingerprint(Eager(MODEL), MODEL)


@pytest.mark.unit
def test_a_model_of_another_shape_has_another_fingerprint() -> None:
    other = ModelConfig(vocab_size=5, n_embd=2, n_head=1, block_size=7)

    assert fingerprint(Eager(other), other) != fingerprint(Eager(MODEL), MODEL)
