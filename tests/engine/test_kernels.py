"""Kernels replay any function of parameters and a document: random ones, and a user's own."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.fuse import fuse
from engine.graph import Graph, Node, evaluate
from engine.model import softmax
from engine.ops import BINARY, UNARY
from engine.scalar import FLOATS, VALUES, Arithmetic
from engine.trace import TRACERS, trace
from engine.value import Value
from tests.engine.functions import (
    VOCAB_SIZE,
    Function,
    Step,
    documents_of,
    eager,
    functions,
    params_of,
    weighted,
)
from tests.engine.replays import replayed, replayer_of

pytestmark = pytest.mark.oracle

CLOSE = 1e-12
ULPS = 1e-15  # a few units in the last place
DIFFERENCE = 1e-5  # step of a central difference, whose error is of the order of its square


@settings(max_examples=300)
@given(functions(), st.integers(0, 999), st.integers(1, 8))
def test_losses_and_gradients_of_a_random_function_are_eagers(
    function: Function, seed: int, count: int
) -> None:
    params, documents = params_of(function, seed), documents_of(function, count, seed)

    losses, grad = replayed(replayer_of(function.traced(), function.num_params), params, documents)

    truths = [eager(function, params, document) for document in documents]
    size = sum(truth.size for truth in truths)
    assert losses == pytest.approx([truth.loss for truth in truths], rel=0, abs=CLOSE * size)
    total = [0.0] * function.num_params
    for truth in truths:
        total = [a + b for a, b in zip(total, truth.grad, strict=True)]
    assert grad == pytest.approx(total, rel=0, abs=CLOSE * size)


@given(functions(is_smooth=True), st.integers(0, 999))
def test_gradients_of_a_random_function_are_those_of_its_differences(
    function: Function, seed: int
) -> None:
    params = params_of(function, seed)
    document = [(seed + t) % VOCAB_SIZE for t in range(len(function.terms) + 1)]

    _, grad = replayed(replayer_of(function.traced(), function.num_params), params, [document])

    size = eager(function, params, document).size
    for i, slope in enumerate(grad):
        ends = []
        for step in (-DIFFERENCE, DIFFERENCE):
            moved = [*params[:i], params[i] + step, *params[i + 1 :]]
            ends.append(weighted(function(FLOATS, moved, document)))
        difference = (ends[1] - ends[0]) / (2 * DIFFERENCE)
        assert slope == pytest.approx(difference, rel=0, abs=1e-7 * size)


@given(functions(), st.integers(0, 999))
def test_a_replay_leaves_no_trace_in_the_next(function: Function, seed: int) -> None:
    """Memory is not cleared between replays: every row must be written before it is read."""
    params, documents = params_of(function, seed), documents_of(function, 5, seed)
    replayer = replayer_of(function.traced(), function.num_params)
    first = replayed(replayer, params, documents)

    replayed(replayer, [float("nan")] * function.num_params, documents_of(function, 8, seed + 1))

    assert replayed(replayer, params, documents) == first


def test_what_is_beyond_a_documents_end_counts_with_weight_zero_exactly() -> None:
    """Another token stands there after a change of names: no bit of the gradient changes."""

    def function(names: Sequence[int]) -> Function:
        pick, row = [0, 1, 2], [[3, 4], [5, 6], [7, 8]]
        steps = []
        for t in range(4):
            steps += [
                Step("pick", tuple(pick[name] for name in names), t),
                Step("row", tuple(place for name in names for place in row[name]), t),
                Step("exp", (9 + 5 * t,)),
                Step("dot", (10 + 5 * t, 12 + 5 * t, 11 + 5 * t, 9 + 5 * t)),
            ]
        return Function(9, tuple(steps), (13, 18, 23))

    params = params_of(function([0, 1, 2]), 1)
    documents = [[1, 2], [2, 0, 1], [0, 2, 2, 1], [1, 1]]

    def under(names: list[int]) -> tuple[list[float], list[float]]:
        renamed = [[names.index(token) for token in document] for document in documents]
        return replayed(replayer_of(function(names).traced(), 9), params, renamed)

    assert under([0, 1, 2]) == under([2, 0, 1]) == under([1, 2, 0])


def test_losses_without_a_gradient_have_the_bits_of_those_with_it() -> None:
    function = Function(2, (Step("exp", (0,)), Step("pick", (0, 1, 2), 1)), (3,))
    replayer = replayer_of(function.traced(), 2)
    documents = [[0, 1], [1, 2], [2, 0]]
    losses, _ = replayed(replayer, [0.3, 0.7], documents)
    untouched = np.array([0.5, 0.25])

    alone = replayer.replay(np.array([0.3, 0.7]), documents, untouched, is_backward=False)

    assert alone == losses == [0.7, math.exp(0.3), 0.3]
    assert untouched.tolist() == [0.5, 0.25]


def test_a_block_is_replayed_at_the_length_of_its_longest_document() -> None:
    """Nothing is computed for positions that no document has: the second is not a number here."""
    function = Function(2, (Step("log", (1,)),), (0, 2))
    replayer = replayer_of(function.traced(), 2)

    short, _ = replayed(replayer, [3.0, -1.0], [[0, 1]] * 8)
    mixed, _ = replayed(replayer, [3.0, -1.0], [[0, 1, 2], *[[0, 1]] * 8])

    assert short == [3.0] * 8
    assert math.isnan(mixed[0])
    assert mixed[8] == 3.0


# ---- the table of operations ---------------------------------------------------------------------

OPERANDS = (0.7, 2.5, -0.7)
CONSTANT = 3.0  # as an exponent, none that has a name of its own


@pytest.mark.parametrize("name", UNARY)
def test_kernels_compute_every_operation_of_one_operand_as_the_table_says(name: str) -> None:
    op = UNARY[name]
    graph = Graph((Node("param", (), 0), Node(name, (0,), CONSTANT)), (1,))
    replayer = replayer_of(graph, 1)

    assert fuse(graph) == graph, "what is compiled is this operation"
    for x in OPERANDS[:2] if name in ("sqrt", "rsqrt", "log", "pow") else OPERANDS:
        (y,) = evaluate(graph, [x], [0])
        losses, grad = replayed(replayer, [x], [[0, 0]])
        assert losses == pytest.approx([y], rel=ULPS)
        assert grad == pytest.approx([op.slope(x, y, CONSTANT)], rel=ULPS)


@pytest.mark.parametrize("name", BINARY)
def test_kernels_compute_every_operation_of_two_operands_as_the_table_says(name: str) -> None:
    op = BINARY[name]
    graph = Graph((Node("param", (), 0), Node("param", (), 1), Node(name, (0, 1))), (2,))
    replayer = replayer_of(graph, 2)

    assert fuse(graph) == graph, "what is compiled is this operation"
    for a, b in permutations(OPERANDS, 2):
        losses, grad = replayed(replayer, [a, b], [[0, 0]])
        assert losses == pytest.approx(evaluate(graph, [a, b], [0]), rel=ULPS)
        assert grad == pytest.approx([op.slope_a(a, b), op.slope_b(a, b)], rel=ULPS)


# ---- a user's own functions ---------------------------------------------------------------------


def convolution(p: list[Any], x: Arithmetic, tokens: Sequence[Any]) -> list[Any]:
    """Windows of an embedded document, which overlap."""
    embedded = [x.exp(number) for token in tokens for number in x.row([p[0:2], p[2:4]], token)]
    windows = [embedded[i : i + 3] for i in range(2 * len(tokens) - 2)]
    bent = [x.relu(p[4] * a + p[5] * b + p[6] * c + p[7]) for a, b, c in windows]
    return [bent[2 * t] - bent[2 * t + 1] ** 2 for t in range(len(tokens) - 1)]


def tied_bigram(p: list[Any], x: Arithmetic, tokens: Sequence[Any]) -> list[Any]:
    """An embedding that is a decay's operand and the output matrix as well."""
    decay = x.exp(p[0]) / (1 + x.exp(p[0]))
    rows = [p[0:2], p[2:4]]
    losses = []
    state = [0 * p[0], 0 * p[1]]
    for token, target in pairwise(tokens):
        state = [decay * old + new for old, new in zip(state, x.row(rows, token), strict=True)]
        logits = [a * state[0] + b * state[1] for a, b in rows]
        losses.append(-x.log(x.pick(softmax(x, logits), target)))
    return losses


def twice_the_same(p: list[Any], x: Arithmetic, tokens: Sequence[Any]) -> list[Any]:
    """One dot, written in two ways, and a vector of one scalar three times over."""
    a, b = x.exp(p[2]), x.exp(p[3])
    both = (p[0] * a + p[1] * b) * (a * p[0] + b * p[1])
    return [both + (p[1] * a + p[2] * a + p[3] * a), both * x.pick(p[:2], tokens[1])]


@pytest.mark.parametrize("function", [convolution, tied_bigram, twice_the_same])
def test_a_users_own_function_compiles_untouched(
    function: Callable[[list[Any], Arithmetic, Sequence[Any]], list[Any]],
) -> None:
    rng = random.Random(function.__name__)
    params = [rng.uniform(-1, 1) for _ in range(8)]
    documents = [[rng.randrange(2) for _ in range(3)] for _ in range(11)]
    expected_losses, leaves = [], [Value(param) for param in params]
    total: Value | float = 0.0
    for document in documents:
        first, second = function(leaves, VALUES, document)
        loss = (first + second) * 0.5
        expected_losses.append(loss.data)
        total = loss + total
    total.backward()

    graph = trace(lambda p: function(p, TRACERS, range(3)), 8)
    losses, grad = replayed(replayer_of(graph, 8), params, documents)

    assert losses == pytest.approx(expected_losses, rel=1e-13)
    size = max(abs(leaf.grad) for leaf in leaves)
    assert grad == pytest.approx([leaf.grad for leaf in leaves], rel=0, abs=1e-13 * size)
