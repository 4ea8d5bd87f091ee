"""Lanes compute what plain floats do: exactly where IEEE says so, to a unit or two elsewhere."""

import math
import random

import numpy as np
import pytest
from numba import njit

from engine.compiled import rows_of_lanes
from engine.lanes import WIDTH, fill, load, store, where_equal
from engine.matmul import fold
from engine.ops import fma, larger, positive

pytestmark = pytest.mark.oracle

ULPS = {"exp": 1, "log": 2}  # measured over the ranges below, from the C library's results
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1.0, -1.0, 2.0**-1022]


@njit(error_model="numpy")
def each(x, y, z):  # type: ignore[no-untyped-def]
    """Write each function of rows of x and y (and their lanes' sum) to a block of z."""
    for i in range(x.shape[0]):
        a, b = load(x, i), load(y, i)
        store(z[0], i, math.exp(a))
        store(z[1], i, math.log(a))
        store(z[2], i, math.sqrt(a))
        store(z[3], i, larger(a, b))
        store(z[4], i, positive(a))
        store(z[5], i, a**1.5)
        store(z[6], i, a + b)
        store(z[7], i, a - b)
        store(z[8], i, a * b)
        store(z[9], i, a / b)
        store(z[10], i, -a)
        store(z[11], i, fma(a, b, 0.5))
        store(z[12], i, where_equal(a, 1.0, b))
        store(z[13], i, fill(fold(a)))
        store(z[14], i, 2.0 - a)


NAMES = (
    *("exp", "log", "sqrt", "larger", "positive", "pow", "add", "sub", "mul", "div"),
    *("neg", "fma", "where_equal", "fold", "mixed"),
)


def lanes(a: list[float], b: list[float]) -> dict[str, list[float]]:
    """Apply everything to pairs of numbers; what is left of the last row is 1."""
    rows = -(-len(a) // WIDTH)
    x, y = rows_of_lanes(rows), rows_of_lanes(rows)
    x[:], y[:] = 1.0, 1.0
    x.reshape(-1)[: len(a)], y.reshape(-1)[: len(b)] = a, b
    z = rows_of_lanes(rows * len(NAMES)).reshape(len(NAMES), rows, WIDTH)
    each(x, y, z)
    return {
        name: block.reshape(-1)[: len(a)].tolist() for name, block in zip(NAMES, z, strict=True)
    }


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or (
        a == b and math.copysign(1, a) == math.copysign(1, b)
    )


def assert_close(name: str, numbers: list[float]) -> None:
    """Compare with math's results, in units of their last place."""
    exact = [getattr(math, name)(x) for x in numbers]
    found = lanes(numbers, numbers)[name]
    far = [abs(y - truth) / math.ulp(truth) for truth, y in zip(exact, found, strict=True)]
    assert max(far) <= ULPS[name]


@pytest.mark.parametrize("span", [1e-300, 1e-10, 1e-3, 0.35, 1.0, 20.0, 700.0, 709.7])
def test_exp_is_within_a_unit_over_its_whole_range(span: float) -> None:
    rng = random.Random(span)

    assert_close("exp", [rng.uniform(-span, span) for _ in range(20_000)])


def test_exp_is_within_a_unit_where_results_are_subnormal() -> None:
    rng = random.Random(1)

    assert_close("exp", [rng.uniform(-745.1, -708) for _ in range(20_000)])


def test_exp_ends_in_zero_infinity_and_nan() -> None:
    numbers = [0.0, -0.0, 709.782712893384, 709.782712893385, 1e308, math.inf, -746.0, -1e308]
    found = lanes([*numbers, -math.inf, math.nan], [1.0] * 10)["exp"]

    assert found[:2] == [1.0, 1.0]
    assert found[2] == pytest.approx(math.exp(709.782712893384), rel=1e-15)
    assert found[3:6] == [math.inf] * 3
    assert found[6:9] == [0.0] * 3
    assert math.isnan(found[9])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-323.0, -307.6),
        (-307.0, 308.0),
        (-3.0, 3.0),
        (-0.1505, 0.1505),
        (-1e-3, 1e-3),
        (-1e-9, 1e-9),
    ],
)
def test_log_is_within_two_units_over_its_whole_range(low: float, high: float) -> None:
    rng = random.Random(low)
    numbers = [10 ** rng.uniform(low, high) for _ in range(20_000)]

    assert_close("log", [x for x in numbers if x > 0])


def test_log_ends_in_infinities_and_nan() -> None:
    numbers = [0.0, -0.0, math.inf, 1.0, -5e-324, -1.0, -math.inf, math.nan]
    found = lanes(numbers, numbers)["log"]

    assert found[:4] == [-math.inf, -math.inf, math.inf, 0.0]
    assert all(map(math.isnan, found[4:]))
    numbers = [5e-324, 2.0**-1022, 1.7976931348623157e308]
    assert lanes(numbers, numbers)["log"] == pytest.approx([*map(math.log, numbers)], rel=2e-16)


def test_what_ieee_defines_has_its_bits() -> None:
    rng = random.Random(2)
    a = [rng.uniform(-5, 5) for _ in range(2000)] + [x for x in SPECIAL for _ in SPECIAL]
    b = [rng.uniform(-5, 5) for _ in range(2000)] + SPECIAL * len(SPECIAL)
    found = lanes(a, b)

    with np.errstate(all="ignore"):
        x, y = np.array(a), np.array(b)
        expected = {
            "add": x + y,
            "sub": x - y,
            "mul": x * y,
            "div": x / y,
            "neg": -x,
            "sqrt": np.sqrt(x),
            "mixed": 2.0 - x,
        }
    for name, numbers in expected.items():
        assert all(map(same, found[name], numbers.tolist())), name


def test_the_larger_and_the_positive_decide_as_the_table_does_on_plain_floats() -> None:
    a = [x for x in SPECIAL for _ in SPECIAL]
    b = SPECIAL * len(SPECIAL)
    found = lanes(a, b)

    assert all(map(same, found["larger"], map(larger, a, b)))
    assert all(map(same, found["positive"], map(positive, a)))
    chosen = [y if x == 1.0 else 0.0 for x, y in zip(a, b, strict=True)]
    assert all(map(same, found["where_equal"], chosen))


def test_a_power_is_that_of_the_c_library() -> None:
    rng = random.Random(3)
    numbers = [10 ** rng.uniform(-5, 5) for _ in range(2000)]

    assert lanes(numbers, numbers)["pow"] == [x**1.5 for x in numbers]
    assert math.isnan(lanes([-1.0], [1.0])["pow"][0])


def test_a_fused_product_is_rounded_once() -> None:
    a, b = 1 + 2.0**-30, 1 - 2.0**-30  # a * b = 1 - 2 ** -60

    assert lanes([a], [b])["fma"] == [1.5]
    tiny = 0.5 * (2.0**-52 - 1)  # a * b + 0.5 is exact only without a rounding between
    assert lanes([1 + 2.0**-52], [tiny])["fma"] == [2.0**-105 + 0.0]


def test_lanes_are_added_by_halves_quarters_and_pairs() -> None:
    rng = random.Random(4)
    for _ in range(100):
        a = [rng.uniform(-1, 1) * 10 ** rng.uniform(-8, 8) for _ in range(WIDTH)]
        by_hand = ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))

        assert lanes(a, a)["fold"] == [by_hand] * WIDTH
