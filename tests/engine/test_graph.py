"""A graph is verified, printed, cut to its first terms and evaluated, all without numbers in it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import GraphError
from engine.graph import Graph, Node, evaluate, prune, verify
from tests.engine.functions import VOCAB_SIZE, Function, functions, params_of

pytestmark = pytest.mark.unit

GRAPH = Graph(
    (
        Node("param", (), 0),
        Node("param", (), 1),
        Node("mul", (0, 1)),
        Node("scale", (2,), 0.5),
        Node("pick", (0, 1), 1),
        Node("sum", (3, 4, 0)),
        Node("dot", (0, 1, 3, 4)),
        Node("exp", (1,)),
    ),
    (5, 6),
)


def test_a_graph_prints_itself_one_node_a_line() -> None:
    assert str(GRAPH).splitlines() == [
        "%0 = param 0",
        "%1 = param 1",
        "%2 = mul %0 %1",
        "%3 = scale %2 0.5",
        "%4 = pick %0 %1 1",
        "%5 = sum %3 %4 %0",
        "%6 = dot %0 %1 %3 %4",
        "%7 = exp %1",
        "terms %5 %6",
    ]


def test_operations_are_counted_the_most_frequent_first() -> None:
    assert next(iter(GRAPH.counts().items())) == ("param", 2)
    assert {**GRAPH.counts()} == {
        "param": 2,
        "mul": 1,
        "scale": 1,
        "pick": 1,
        "sum": 1,
        "dot": 1,
        "exp": 1,
    }


def test_terms_are_computed_from_parameters_and_the_tokens_of_a_document() -> None:
    three_halves = 3.0 * 7.0 * 0.5

    assert evaluate(GRAPH, [3.0, 7.0], [0, 1]) == [
        three_halves + 7.0 + 3.0,
        3.0 * three_halves + 7.0 * 7.0,
    ]
    assert evaluate(GRAPH, [3.0, 7.0], [1, 0])[0] == three_halves + 3.0 + 3.0


def test_what_no_term_needs_is_cut() -> None:
    assert prune(GRAPH, 2).counts().get("exp") is None
    assert prune(GRAPH, 1) == Graph(GRAPH.nodes[:6], (5,))


@settings(max_examples=50)
@given(functions(), st.integers(0, 99))
def test_the_first_terms_are_the_same_when_the_others_are_cut(
    function: Function, seed: int
) -> None:
    graph, params = function.traced(), params_of(function, seed)
    tokens = [seed % VOCAB_SIZE, 1, 0, 2]

    for count in range(1, len(graph.terms) + 1):
        pruned = prune(graph, count)
        verify(pruned)
        assert evaluate(pruned, params, tokens) == evaluate(graph, params, tokens)[:count]


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (Node("sine", (0,)), "expected the operands of sine, got 1 — node %8, sine"),
        (Node("exp", ()), "expected the operands of exp, got 0 — node %8, exp"),
        (Node("exp", (0, 1)), "expected the operands of exp, got 2 — node %8, exp"),
        (Node("add", (0,)), "expected the operands of add, got 1 — node %8, add"),
        (Node("param", (0,), 1), "expected the operands of param, got 1 — node %8, param"),
        (Node("const", (0,), 1), "expected the operands of const, got 1 — node %8, const"),
        (Node("sum", ()), "expected the operands of sum, got 0 — node %8, sum"),
        (Node("dot", (0, 1, 2)), "expected the operands of dot, got 3 — node %8, dot"),
        (Node("exp", (8,)), "expected operands before the node, got (8,) — node %8, exp"),
        (Node("exp", (9,)), "expected operands before the node, got (9,) — node %8, exp"),
        (Node("add", (-1, 0)), "expected operands before the node, got (-1, 0) — node %8, add"),
        (Node("param", (), -1), "expected a number from 0, got -1 — node %8, param"),
        (Node("param", (), 0.5), "expected a number from 0, got 0.5 — node %8, param"),
        (Node("pick", (0, 1), -1), "expected a number from 0, got -1 — node %8, pick"),
        (Node("pick", (0, 1), 1.0), "expected a number from 0, got 1.0 — node %8, pick"),
    ],
)
def test_a_node_that_breaks_the_rules_is_named(node: Node, sentence: str) -> None:
    verify(GRAPH)

    with pytest.raises(GraphError) as caught:
        verify(replace(GRAPH, nodes=(*GRAPH.nodes, node)))

    assert str(caught.value) == sentence


@pytest.mark.parametrize("terms", [(), (8,), (-1,), (0, 99)])
def test_a_graph_without_results_in_it_is_none(terms: tuple[int, ...]) -> None:
    with pytest.raises(GraphError, match=r"expected terms in the graph, got .* of 8 nodes"):
        verify(replace(GRAPH, terms=terms))
