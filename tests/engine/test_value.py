"""Value: each operation's number and derivative, and the chain rule over whole graphs."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.value import Value, depth_first

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("node", "data", "local_grads"),
    [
        pytest.param(Value(2.0) + Value(3.0), 5.0, (1, 1), id="a + b"),
        pytest.param(Value(2.0) + 3.0, 5.0, (1, 1), id="a + number"),
        pytest.param(Value(2.0) * Value(3.0), 6.0, (3.0, 2.0), id="a * b"),
        pytest.param(Value(2.0) * 3.0, 6.0, (3.0, 2.0), id="a * number"),
        pytest.param(Value(0.3) ** 2, 0.3**2, (2 * 0.3**1,), id="a ** 2"),
        pytest.param(Value(49.0) ** -1, 49.0**-1, (-1 * 49.0**-2,), id="a ** -1"),
        pytest.param(Value(0.7) ** -0.5, 0.7**-0.5, (-0.5 * 0.7**-1.5,), id="a ** -0.5"),
        pytest.param(Value(0.499).log(), math.log(0.499), (1 / 0.499,), id="log a"),
        pytest.param(Value(0.3).exp(), math.exp(0.3), (math.exp(0.3),), id="exp a"),
        pytest.param(Value(0.3).relu(), 0.3, (1.0,), id="relu of a positive number"),
        pytest.param(Value(-0.3).relu(), 0, (0.0,), id="relu of a negative number"),
        pytest.param(Value(0.0).relu(), 0, (0.0,), id="relu of zero"),
    ],
)
def test_an_operation_keeps_its_value_and_its_derivative_by_each_operand(
    node: Value, data: float, local_grads: tuple[float, ...]
) -> None:
    assert node.data == data
    assert node.local_grads == local_grads


@pytest.mark.parametrize(
    ("function", "data", "grad"),
    [
        pytest.param(lambda x: -x, -5.0, -1.0, id="-x"),
        pytest.param(lambda x: x - 2.0, 3.0, 1.0, id="x - number"),
        pytest.param(lambda x: x - Value(2.0), 3.0, 1.0, id="x - value"),
        pytest.param(lambda x: 2.0 - x, -3.0, -1.0, id="number - x"),
        pytest.param(lambda x: 2.0 + x, 7.0, 1.0, id="number + x"),
        pytest.param(lambda x: 2.0 * x, 10.0, 2.0, id="number * x"),
        pytest.param(lambda x: x / 2.0, 2.5, 0.5, id="x / number"),
        pytest.param(lambda x: x / Value(2.0), 2.5, 0.5, id="x / value"),
        pytest.param(lambda x: 2.0 / x, 2.0 * 5.0**-1, 2.0 * (-1 * 5.0**-2), id="number / x"),
    ],
)
def test_an_operation_made_of_others_has_their_value_and_derivative(
    function: Callable[[Value], Value], data: float, grad: float
) -> None:
    x = Value(5.0)

    result = function(x)
    result.backward()

    assert (result.data, x.grad) == (data, grad)


@pytest.mark.parametrize("divisor", [5.0, Value(5.0)], ids=["number", "value"])
def test_a_division_multiplies_by_a_power_and_so_may_differ_in_the_last_bit(
    divisor: "float | Value",
) -> None:
    quotient = Value(3.0) / divisor

    assert quotient.data == 3.0 * 5.0**-1
    assert quotient.data != 3.0 / 5.0


def test_the_derivative_of_a_logarithm_is_a_true_division() -> None:
    assert Value(0.499).log().local_grads != (0.499**-1,)


def test_an_operation_remembers_its_operands_from_left_to_right() -> None:
    a, b = Value(2.0), Value(3.0)

    assert (a * b).children == (a, b)
    assert (b * a).children == (b, a)


def test_a_number_that_meets_a_value_becomes_a_leaf_on_its_right() -> None:
    a = Value(2.0)

    for node in (a + 3.0, 3.0 + a, a * 3.0, 3.0 * a):
        left, right = node.children
        assert left is a
        assert (right.data, right.children) == (3.0, ())


def test_a_node_used_twice_by_one_operation_gets_both_contributions() -> None:
    x = Value(3.0)

    (x * x).backward()

    assert x.grad == 6.0


def test_a_node_used_by_two_operations_gets_both_contributions() -> None:
    x = Value(3.0)
    shared = x + 1.0

    (shared * 5.0 + shared * 7.0).backward()

    assert shared.grad == 12.0
    assert x.grad == 12.0


def test_contributions_are_added_from_the_last_use_to_the_first() -> None:
    x = Value(1.0)

    (x * 1.0 + x * 1e16 + x * -1e16).backward()

    assert x.grad == 1.0  # from the first to the last it would be 0.0


def test_the_root_of_a_graph_has_gradient_one_and_an_untouched_node_zero() -> None:
    root, stranger = Value(2.0) + 1.0, Value(2.0)

    root.backward()

    assert (root.grad, stranger.grad) == (1.0, 0.0)


def test_depth_first_lists_children_from_left_to_right_and_each_node_once() -> None:
    a, b = Value(1.0), Value(2.0)
    product = a * b
    total = product + b
    root = total * product

    assert depth_first(root) == [a, b, product, total, root]


def test_a_graph_100_000_nodes_deep_backpropagates() -> None:
    leaf = Value(1.0)
    root = leaf
    for _ in range(100_000):
        root = root + 1.0

    root.backward()

    assert (root.data, leaf.grad) == (100_001.0, 1.0)


# ---- random graphs with sharing -----------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Value, Value], Value]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 1.0),
    "divide a number": lambda a, b: 0.7 / (a * a + 1.0) + b,
    "square": lambda a, b: a**2 - b,
    "root": lambda a, b: (a * a + 0.5) ** 0.5 * b,
    "inverse root": lambda a, b: (a * a + 0.5) ** -0.5 + b,
    "exp": lambda a, b: (a * 0.1).exp() * b,
    "log": lambda a, b: (a * a + 0.5).log() + b,
    "relu": lambda a, b: a.relu() * b,
}

inputs_of_graphs = st.lists(st.floats(-1.5, 1.5, width=32), min_size=3, max_size=3)
programs = st.lists(
    st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 7), st.integers(0, 7)),
    min_size=1,
    max_size=6,
)
Program = Sequence[tuple[str, int, int]]


def build(program: Program, leaves: Sequence[Value]) -> Value:
    nodes = list(leaves)
    for name, i, j in program:
        a, b = nodes[-1 - i % len(nodes)], nodes[-1 - j % len(nodes)]
        assume(name != "relu" or abs(a.data) > 0.01)  # at its kink relu has no derivative
        nodes.append(OPERATIONS[name](a, b))
    assume(all(abs(node.data) < 100 for node in nodes))
    return nodes[-1]


@given(programs, inputs_of_graphs)
def test_gradients_of_any_graph_are_those_of_central_differences(
    program: Program, inputs: list[float]
) -> None:
    leaves = [Value(number) for number in inputs]
    build(program, leaves).backward()
    assume(all(abs(leaf.grad) < 1000 for leaf in leaves))

    for i, leaf in enumerate(leaves):
        above, below = list(inputs), list(inputs)
        above[i] += 1e-5
        below[i] -= 1e-5
        rise = build(program, [Value(x) for x in above]).data
        rise -= build(program, [Value(x) for x in below]).data
        assert leaf.grad == pytest.approx(rise / 2e-5, rel=1e-5, abs=1e-5)


@given(programs, inputs_of_graphs)
def test_depth_first_has_the_order_of_the_recursive_definition(
    program: Program, inputs: list[float]
) -> None:
    root = build(program, [Value(number) for number in inputs])
    expected: list[Value] = []
    visited: set[Value] = set()

    def visit(node: Value) -> None:
        if node not in visited:
            visited.add(node)
            for child in node.children:
                visit(child)
            expected.append(node)

    visit(root)

    assert depth_first(root) == expected


def test_a_difference_adds_the_negation_on_its_right() -> None:
    a, b = Value(5.0), Value(3.0)

    left, right = (a - b).children

    assert left is a
    assert right.children[0] is b


def test_a_number_minus_a_value_negates_the_value_and_adds_the_number() -> None:
    a = Value(2.0)

    negation, number = (7.0 - a).children

    assert negation.children[0] is a
    assert (number.data, number.children) == (7.0, ())


def test_a_quotient_has_the_inverse_power_on_its_right() -> None:
    a, b = Value(3.0), Value(5.0)

    left, inverse = (a / b).children

    assert left is a
    assert inverse.children == (b,)


def test_a_number_divided_by_a_value_scales_the_inverse_power() -> None:
    a = Value(5.0)

    inverse, number = (3.0 / a).children

    assert inverse.children == (a,)
    assert (number.data, number.children) == (3.0, ())
