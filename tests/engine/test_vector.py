"""Whole vectors: close to the scalar Adam, the same bits anywhere in memory, and silent."""

import math
import random
from array import array

import pytest

from engine import optimizer
from engine.config import TrainConfig
from engine.eager import Eager
from engine.gradient import GradientSum
from engine.optimizer import Moments
from engine.vector import adam_update, plus
from tests.engine.test_eager import CONFIG as MODEL

pytestmark = pytest.mark.unit

CONFIG = TrainConfig(steps=400, batch_size=1, shards=1, schedule="cosine", warmup_steps=10)


def drawn(length: int, seed: int, spread: float = 1.0) -> "array[float]":
    rng = random.Random(seed)
    return array("d", (rng.gauss(0, spread) for _ in range(length)))


def distance(a: "array[float]", b: "array[float]") -> float:
    """The largest difference, relative to the largest number."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(map(abs, b))


def test_adam_stays_within_1e_12_of_the_scalar_one_over_many_steps() -> None:
    rng = random.Random(3)
    params, moments = drawn(300, 1, 0.08), Moments.zeros(300)
    expected, expected_moments = params, moments

    for step in range(400):
        grad = array("d", (rng.gauss(0, 1) * 10 ** rng.uniform(-6, 2) for _ in range(300)))
        params, moments = adam_update(CONFIG, step, params, moments, grad)
        expected, expected_moments = optimizer.adam_update(
            CONFIG, step, expected, expected_moments, grad
        )

    assert distance(params, expected) < 1e-12
    assert distance(moments.m, expected_moments.m) < 1e-12
    assert distance(moments.v, expected_moments.v) < 1e-12
    assert math.dist(params, drawn(300, 1, 0.08)) > 1  # it went somewhere


def test_the_square_and_the_root_are_not_powers() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1)
    m, v = (1 - 0.85) * 0.3235, (1 - 0.99) * (0.3235 * 0.3235)

    params, moments = adam_update(
        config, 0, array("d", [0.0]), Moments.zeros(1), array("d", [0.3235])
    )

    root = math.sqrt(v / (1 - 0.99))
    assert list(params) == [0.0 - 0.01 * (m / (1 - 0.85)) / (root + 1e-8)]
    assert (list(moments.m), list(moments.v)) == ([m], [v])


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 63, 64, 65, 999])
def test_a_number_is_updated_alike_whatever_stands_beside_it(length: int) -> None:
    params, grad = drawn(1000, 1), drawn(1000, 2)
    moments = Moments(drawn(1000, 3), array("d", map(abs, drawn(1000, 4))))
    whole, whole_moments = adam_update(CONFIG, 5, params, moments, grad)

    for first in (0, 1, 1000 - length):
        cut = slice(first, first + length)
        cut_moments = Moments(moments.m[cut], moments.v[cut])
        part, part_moments = adam_update(CONFIG, 5, params[cut], cut_moments, grad[cut])

        assert part == whole[cut]
        assert part_moments == Moments(whole_moments.m[cut], whole_moments.v[cut])


@pytest.mark.parametrize("offset", [0, 4, 8, 16, 24, 40])
def test_a_vector_is_updated_alike_wherever_it_lies_in_memory(offset: int) -> None:
    params, m, grad = drawn(333, 1), drawn(333, 3), drawn(333, 2)
    v = array("d", map(abs, drawn(333, 4)))

    moved = [at(offset + 8 * i, vector) for i, vector in enumerate((params, m, v, grad))]

    expected = adam_update(CONFIG, 5, params, Moments(m, v), grad)
    assert adam_update(CONFIG, 5, moved[0], Moments(moved[1], moved[2]), moved[3]) == expected


def at(offset: int, vector: "array[float]") -> memoryview:
    memory = bytearray(offset) + vector.tobytes()
    return memoryview(memory)[offset:].cast("d")


def test_what_it_was_given_stays_as_it_is() -> None:
    params, moments, grad = drawn(9, 1), Moments(drawn(9, 2), array("d", [0.5] * 9)), drawn(9, 3)

    adam_update(CONFIG, 0, params, moments, grad)

    assert (params, grad) == (drawn(9, 1), drawn(9, 3))
    assert moments == Moments(drawn(9, 2), array("d", [0.5] * 9))


def test_results_are_vectors_of_their_own_that_may_grow() -> None:
    params, moments = adam_update(CONFIG, 0, drawn(9, 1), Moments.zeros(9), drawn(9, 3))

    for vector in (params, moments.m, moments.v):
        assert isinstance(vector, array)
        vector.append(1.0)  # a view that outlived the call would forbid it


@pytest.mark.parametrize("number", [1e200, math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 1])
def test_an_update_that_leaves_the_floats_is_refused(number: float, place: int) -> None:
    """An infinite moment alone would divide its parameter's step down to a harmless zero."""
    grad = array("d", [0.5, 0.5])
    grad[place] = number

    with pytest.raises(OverflowError, match="leaves the floats"):
        adam_update(CONFIG, 0, array("d", [1.0, 1.0]), Moments.zeros(2), grad)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1001])
def test_a_sum_has_the_bits_of_adding_number_by_number(length: int) -> None:
    a = GradientSum(0.1, drawn(length, 1, 1e3))
    b = GradientSum(0.2, drawn(length, 2, 1e-3))

    expected = Eager(MODEL).plus(a, b)

    assert plus(a, b) == expected
    assert b.grad == drawn(length, 2, 1e-3)


def test_a_sum_that_leaves_the_floats_is_infinite_or_nan_and_nobody_is_warned() -> None:
    a = GradientSum(1e308, array("d", [1e308, math.inf]))
    b = GradientSum(1e308, array("d", [1e308, -math.inf]))

    total = plus(a, b)

    assert (total.loss, total.grad[0]) == (math.inf, math.inf)
    assert math.isnan(total.grad[1])


def test_sums_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        plus(GradientSum(0.0, drawn(2, 1)), GradientSum(0.0, drawn(3, 1)))
