"""What is traced is what eager computes, operation for operation and bit for bit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ModelConfig
from engine.graph import Graph, Node, evaluate, verify
from engine.model import position_losses
from engine.params import as_matrices, initialise, layout_of
from engine.scalar import VALUES
from engine.trace import TRACERS, Tracer, trace, trace_document
from engine.value import Value
from tests.engine.functions import Function, documents_of, functions, params_of

pytestmark = pytest.mark.unit

MODELS = {
    "relu": ModelConfig(vocab_size=4, n_embd=4, n_head=2, block_size=5),
    "relu2": ModelConfig(vocab_size=4, n_embd=4, n_head=2, block_size=5, activation="relu2"),
    "layer": ModelConfig(vocab_size=4, n_embd=4, n_head=1, block_size=5, norm="layer"),
    "two layers": ModelConfig(vocab_size=5, n_layer=2, n_embd=6, n_head=3, block_size=4),
}


def test_each_operator_of_a_number_is_written_down() -> None:
    def every(params: list[Tracer]) -> list[Tracer]:
        a, b = params
        return [a + b, a * b, a - b, a / b, -a, a**3, 2 + a, 2 * a, 2 - a, 2 / a, a + 2, a - 2]

    graph = trace(every, 2)

    verify(graph)
    a, b = 0.7, -1.3
    expected = [a + b, a * b, a - b, a * b**-1, -a, a**3, 2 + a, 2 * a, 2 - a, a**-1 * 2, a + 2]
    assert evaluate(graph, [a, b], []) == [*expected, a - 2]


def test_what_looks_at_a_number_is_a_node() -> None:
    def looking(params: list[Tracer]) -> list[Tracer]:
        (row,) = (TRACERS.row([params[0:2], params[2:4]], 1),)
        return [TRACERS.largest(params) + TRACERS.pick(row, 0)]

    graph = trace(looking, 4)

    assert graph.nodes[4:] == (
        Node("pick", (0, 2), 1),
        Node("pick", (1, 3), 1),
        Node("max", (0, 1, 2, 3)),
        Node("pick", (4, 5), 0),
        Node("add", (6, 7)),
    )
    assert evaluate(graph, [1.0, 2.0, 3.0, 4.0], [0, 1]) == [4.0 + 3.0]
    assert evaluate(graph, [1.0, 2.0, 3.0, 4.0], [1, 0]) == [4.0 + 2.0]


def test_a_term_may_be_a_parameter() -> None:
    assert trace(lambda params: params[::-1], 2) == Graph(
        (Node("param", (), 0), Node("param", (), 1)), (1, 0)
    )


@settings(max_examples=50)
@given(functions(), st.integers(0, 99))
def test_a_users_function_has_eagers_bits_on_documents(function: Function, seed: int) -> None:
    graph, params = function.traced(), params_of(function, seed)

    verify(graph)
    for document in documents_of(function, 3, seed):
        tokens = [*document, *[0] * len(function.terms)]
        terms = function(VALUES, [Value(param) for param in params], tokens)
        assert evaluate(graph, params, tokens) == [term.data for term in terms]


@pytest.mark.parametrize("name", MODELS)
def test_a_document_has_eagers_bits_at_every_length(name: str) -> None:
    model = MODELS[name]
    params = initialise(model, random.Random(3))
    rng = random.Random(name)
    matrices = as_matrices(layout_of(model), [Value(param) for param in params])
    longest = trace_document(model, model.block_size)

    for positions in range(1, model.block_size + 1):
        tokens = [rng.randrange(model.vocab_size) for _ in range(positions + 1)]
        losses = position_losses(VALUES, model, matrices, tokens)
        padded = [*tokens, *[0] * model.block_size]

        graph = trace_document(model, positions)
        assert evaluate(graph, params, tokens) == [loss.data for loss in losses]
        assert evaluate(longest, params, padded)[:positions] == [loss.data for loss in losses]
