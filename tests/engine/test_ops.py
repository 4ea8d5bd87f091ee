"""Each row of the table of operations: the derivative is that of the function beside it."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from engine.ops import BINARY, UNARY, fma, larger, positive
from engine.value import Value

pytestmark = pytest.mark.unit

STEP = 1e-6
CONSTANTS = {"pow": (-2, 0.5, 1.5, 3), "scale": (-1.5, 0.25), "shift": (-1.5, 0.25)}
EAGER: dict[str, Callable[[Value, Any], Value]] = {
    "scale": lambda x, c: x * c,
    "shift": lambda x, c: x + c,
    "pow": lambda x, c: x**c,
    "square": lambda x, c: x**2,
    "sqrt": lambda x, c: x**0.5,
    "reciprocal": lambda x, c: x**-1,
    "rsqrt": lambda x, c: x**-0.5,
    "exp": lambda x, c: x.exp(),
    "log": lambda x, c: x.log(),
    "relu": lambda x, c: x.relu(),
}


@pytest.mark.parametrize("name", UNARY)
def test_an_operation_of_one_operand_is_eagers_with_eagers_slope(name: str) -> None:
    forward, slope = UNARY[name].forward, UNARY[name].slope
    rng = random.Random(name)
    for constant in CONSTANTS.get(name, (0.0,)):
        for _ in range(100):
            leaf = Value(rng.uniform(0.1, 3.0))
            y = EAGER[name](leaf, constant)
            y.backward()

            assert forward(leaf.data, constant) == pytest.approx(y.data, rel=1e-15)
            assert slope(leaf.data, y.data, constant) == pytest.approx(leaf.grad, rel=2e-15)


@pytest.mark.parametrize("name", BINARY)
def test_an_operation_of_two_operands_has_the_slopes_of_its_differences(name: str) -> None:
    operation = BINARY[name]
    rng = random.Random(name)
    for _ in range(100):
        a, b = rng.uniform(-3, 3), rng.uniform(-3, 3)
        by_a = operation.forward(a + STEP, b) - operation.forward(a - STEP, b)
        by_b = operation.forward(a, b + STEP) - operation.forward(a, b - STEP)

        assert operation.slope_a(a, b) == pytest.approx(by_a / (2 * STEP), abs=1e-8)
        assert operation.slope_b(a, b) == pytest.approx(by_b / (2 * STEP), abs=1e-8)


def test_a_relu_is_flat_at_zero_and_below() -> None:
    relu = UNARY["relu"]

    assert [relu.forward(x, 0.0) for x in (-2.0, -0.0, 0.0, 2.0)] == [0.0, 0.0, 0.0, 2.0]
    assert [relu.slope(x, None, 0.0) for x in (-2.0, -0.0, 0.0, 2.0)] == [0.0, 0.0, 0.0, 1.0]


def test_the_helpers_of_the_table_compute_on_plain_floats() -> None:
    assert (fma(2.0, 3.0, 4.0), larger(1.0, 2.0), larger(2.0, 1.0)) == (10.0, 2.0, 2.0)
    assert (positive(-1.0), positive(0.0), positive(0.5)) == (0.0, 0.0, 1.0)
