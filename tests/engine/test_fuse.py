"""Each rewrite on the smallest graph that shows it, and all of them on random functions."""

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ModelConfig
from engine.fuse import fuse, fuse_chains, name_constants, share, sink_picks
from engine.graph import evaluate, verify
from engine.params import initialise
from engine.trace import TRACERS, Tracer, trace, trace_document
from tests.engine.functions import VOCAB_SIZE, Function, eager, functions, params_of

pytestmark = pytest.mark.unit


def fused(function: Callable[[list[Tracer]], Sequence[Tracer]], num_params: int) -> list[str]:
    """Give the nodes after the parameters."""
    graph = fuse(trace(function, num_params))
    verify(graph)
    return [line for line in str(graph).splitlines() if "param" not in line]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda p: [p[0] * 3], ["%1 = scale %0 3"]),
        (lambda p: [p[0] + 3], ["%1 = shift %0 3"]),
        (lambda p: [p[0] - 3], ["%1 = shift %0 -3"]),
        (lambda p: [-p[0]], ["%1 = scale %0 -1"]),
        (lambda p: [p[0] ** -1], ["%1 = reciprocal %0"]),
        (lambda p: [p[0] ** -0.5], ["%1 = rsqrt %0"]),
        (lambda p: [p[0] ** 0.5], ["%1 = sqrt %0"]),
        (lambda p: [p[0] ** 2], ["%1 = square %0"]),
        (lambda p: [p[0] ** 3], ["%1 = pow %0 3"]),
        (lambda p: [p[0] - p[0].exp()], ["%1 = exp %0", "%2 = sub %0 %1"]),
        (lambda p: [p[0].exp() * p[0].exp()], ["%1 = exp %0", "%2 = mul %1 %1"]),
    ],
)
def test_an_operation_with_a_plain_number_has_one_operand(
    function: Callable[[list[Tracer]], Sequence[Tracer]], expected: list[str]
) -> None:
    assert fused(function, 1)[:-1] == expected


def test_a_sum_of_products_is_one_dot_in_the_order_of_its_terms() -> None:
    def from_zero(p: list[Tracer]) -> list[Tracer]:
        return [0 + p[0] * p[1] + p[2] * p[3]]

    def from_the_first(p: list[Tracer]) -> list[Tracer]:
        return [p[0] * p[1] + p[2] * p[3]]

    assert fused(from_zero, 4) == ["%4 = dot %0 %2 %1 %3", "terms %4"]
    assert fused(from_the_first, 4) == fused(from_zero, 4)


def test_a_chain_of_other_terms_is_one_sum() -> None:
    assert fused(lambda p: [0 + p[0] + p[1] + p[0]], 2) == ["%2 = sum %0 %1 %0", "terms %2"]
    assert fused(lambda p: [0 + p[0]], 1) == ["%1 = sum %0", "terms %1"]


def test_a_residual_beside_a_dot_stays_an_addition() -> None:
    assert fused(lambda p: [0 + p[0] * p[1] + p[2] * p[3] + p[4]], 5) == [
        "%5 = dot %0 %2 %1 %3",
        "%6 = add %5 %4",
        "terms %6",
    ]


def test_a_product_with_another_use_stays_a_product() -> None:
    def used_twice(p: list[Tracer]) -> list[Tracer]:
        product = p[0] * p[1]
        return [0 + product + p[2] * p[3], product]

    assert fused(used_twice, 4)[0] == "%4 = mul %0 %1"


def test_a_chain_with_another_use_ends_there() -> None:
    def used_twice(p: list[Tracer]) -> list[Tracer]:
        both = 0 + p[0] + p[1]
        return [both + p[2], both]

    assert fused(used_twice, 3) == ["%3 = sum %0 %1", "%4 = add %3 %2", "terms %4 %3"]


def test_a_pick_among_products_is_the_product_of_a_pick() -> None:
    def softmax(p: list[Tracer]) -> list[Tracer]:
        return [TRACERS.pick([x * p[2] for x in p[:2]], 1)]

    assert fused(softmax, 3) == ["%3 = pick %0 %1 1", "%4 = mul %3 %2", "terms %4"]


def test_a_pick_stays_where_its_products_differ_or_have_another_use() -> None:
    def of_others(p: list[Tracer]) -> list[Tracer]:
        return [TRACERS.pick([p[0] * p[1], p[1] * p[2]], 0)]

    def used_twice(p: list[Tracer]) -> list[Tracer]:
        products = [x * p[2] for x in p[:2]]
        return [TRACERS.pick(products, 0), products[0]]

    assert [line.split()[2] for line in fused(of_others, 3)[:-1]] == ["mul", "mul", "pick"]
    assert [line.split()[2] for line in fused(used_twice, 3)[:-1]] == ["mul", "mul", "pick"]


@pytest.mark.parametrize("rewrite", [share, name_constants, sink_picks, fuse_chains, fuse])
@settings(max_examples=25)
@given(function=functions(), seed=st.integers(0, 99))
def test_a_rewrite_keeps_the_terms(rewrite: Callable, function: Function, seed: int) -> None:
    graph, params = function.traced(), params_of(function, seed)
    tokens = [(seed + t) % VOCAB_SIZE for t in range(len(function.terms) + 1)]
    rewritten = rewrite(graph)

    verify(rewritten)
    assert len(rewritten) <= len(graph)
    size = eager(function, params, tokens).size
    assert evaluate(rewritten, params, tokens) == pytest.approx(
        evaluate(graph, params, tokens), rel=1e-14, abs=1e-14 * size
    )


@settings(max_examples=25)
@given(functions())
def test_what_is_fused_is_fused(function: Function) -> None:
    graph = fuse(function.traced())

    again = fuse(graph)

    assert len(again) <= len(graph)
    assert "const" not in [node.op for node in graph.nodes if node.operands]


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("activation", ["relu", "relu2"])
def test_a_documents_losses_stay_within_a_few_units_in_the_last_place(
    activation: str, norm: str
) -> None:
    model = ModelConfig(
        vocab_size=5, n_embd=4, n_head=2, block_size=4, activation=activation, norm=norm
    )
    params = initialise(model, random.Random(2))
    graph = trace_document(model, 4)
    tokens = [4, 1, 0, 3, 4]

    before, after = evaluate(graph, params, tokens), evaluate(fuse(graph), params, tokens)

    for loss, fused_loss in zip(before, after, strict=True):
        assert abs(loss - fused_loss) <= 4 * math.ulp(loss)
