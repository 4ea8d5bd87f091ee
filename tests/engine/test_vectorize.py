"""A program computes what its graph does, and differentiates it; checked row by row in Python."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ModelConfig
from engine.eager import document_gradient
from engine.fuse import fuse
from engine.graph import prune
from engine.params import initialise
from engine.program import Matmul, Program, verify
from engine.trace import TRACERS, Tracer, trace, trace_document
from engine.vectorize import vectorize
from tests.engine.functions import (
    Function,
    documents_of,
    eager,
    functions,
    params_of,
    weighted,
)
from tests.engine.interpreter import Interpreter

pytestmark = pytest.mark.unit

CLOSE = 1e-12


def program_of(function: Callable[[list[Tracer]], Sequence[Tracer]], num_params: int) -> Program:
    program = vectorize(fuse(trace(function, num_params)), num_params)
    verify(program)
    return program


def lines(program: Program) -> list[str]:
    return [" ".join(line.split()) for line in str(program).splitlines()]


@given(functions(), st.integers(0, 99))
def test_a_random_function_has_eagers_loss_and_gradient(function: Function, seed: int) -> None:
    params = params_of(function, seed)
    graph = fuse(function.traced())

    for document in documents_of(function, 3, seed):
        positions = len(document) - 1
        program = vectorize(prune(graph, positions), function.num_params)
        verify(program)
        replay = Interpreter(program, params, [*document, *[0] * len(function.terms)])
        replay.backward([1 / positions] * positions)

        truth = eager(function, params, document)
        assert weighted(replay.terms) == pytest.approx(truth.loss, rel=0, abs=CLOSE * truth.size)
        assert replay.param_grads == pytest.approx(truth.grad, rel=0, abs=CLOSE * truth.size)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(vocab_size=5, n_embd=6, n_head=3, block_size=3),
        ModelConfig(vocab_size=3, n_layer=2, n_embd=4, n_head=2, block_size=4, norm="layer"),
        ModelConfig(vocab_size=4, n_embd=4, n_head=4, block_size=3, activation="relu2"),
        ModelConfig(vocab_size=3, n_embd=1, n_head=1, block_size=1),
    ],
    ids=["odd sizes", "two layers", "relu2", "smallest"],
)
def test_a_document_has_eagers_gradient_at_every_length(model: ModelConfig) -> None:
    params = initialise(model, random.Random(1))
    graph = fuse(trace_document(model, model.block_size))
    rng = random.Random(2)
    for positions in range(1, model.block_size + 1):
        tokens = [rng.randrange(model.vocab_size) for _ in range(positions + 1)]
        program = vectorize(prune(graph, positions), model.num_params)
        verify(program)
        replay = Interpreter(program, params, tokens)
        replay.backward([1 / positions] * positions)

        truth = document_gradient(model, params, tokens)
        size = max(map(abs, truth.grad))
        assert replay.param_grads == pytest.approx(truth.grad.tolist(), rel=0, abs=CLOSE * size)
        assert weighted(replay.terms) == pytest.approx(truth.loss, rel=CLOSE)


# ---- what becomes what -------------------------------------------------------------------------


def test_nodes_of_one_level_and_kind_become_one_instruction() -> None:
    assert lines(program_of(lambda p: [p[0].exp() * p[1].exp()], 2)) == [
        "v0 [2] = spread params 0..1",
        "v1 [2] = exp v0",
        "v2 [1] = mul v1[0], v1[1]",
        "terms v2",
    ]


def test_dots_of_adjoining_parameters_become_a_matmul_for_all_vectors() -> None:
    def linear(p: list[Tracer]) -> list[Tracer]:
        vectors = [[x.exp() for x in p[6:8]], [x.exp() for x in p[8:10]]]
        return [
            0 + p[2 * row] * x + p[2 * row + 1] * y for x, y in vectors for row in range(3)
        ]  # 3 x 2

    assert lines(program_of(linear, 10)) == [
        "v0 [4] = spread params 6..9",
        "v1 [4] = exp v0",
        "v2 [2 x 3] = matmul params 0..5 (3 x 2) @ v1",
        "terms v2",
    ]


def test_parameters_that_do_not_adjoin_become_a_matmul_each() -> None:
    def apart(p: list[Tracer]) -> list[Tracer]:
        x, y = p[5].exp(), p[6].exp()
        return [0 + p[0] * x + p[1] * y, 0 + p[3] * x + p[4] * y]

    matmuls = [i for i in program_of(apart, 7).instructions if isinstance(i, Matmul)]

    assert [(matmul.weights, matmul.rows, matmul.columns) for matmul in matmuls] == [
        (0, 1, 2),
        (3, 1, 2),
    ]


def test_a_model_reads_like_a_transformer() -> None:
    model = ModelConfig(vocab_size=5, n_embd=4, n_head=2, block_size=3)
    program = vectorize(fuse(trace_document(model, 3)), model.num_params)

    matmuls = [i for i in program.instructions if isinstance(i, Matmul)]

    assert [(matmul.vectors, matmul.rows, matmul.columns) for matmul in matmuls] == [
        (3, 12, 4),  # query, key and value lie side by side
        (3, 4, 4),
        (3, 16, 4),
        (3, 4, 16),
        (3, 5, 4),
    ]


# ---- what went wrong once ----------------------------------------------------------------------


def test_a_parameter_that_is_looked_up_and_used_is_both() -> None:
    """A lookup names parameters by number, an addition by row."""

    def tied(p: list[Tracer]) -> list[Tracer]:
        return [TRACERS.pick(p, 0) + p[2].exp()]

    assert lines(program_of(tied, 3))[:2] == [
        "v0 [1] = spread params 2",
        "v1 [1] = lookup params 0..2 by token 0 (3 each)",
    ]


def test_the_same_dot_twice_is_computed_once() -> None:
    """Written a * b and b * a: one row of one matmul."""

    def twice(p: list[Tracer]) -> list[Tracer]:
        x, y = p[2].exp(), p[3].exp()
        return [p[0] * x + p[1] * y, x * p[0] + y * p[1]]

    assert lines(program_of(twice, 4))[2:] == [
        "v2 [1 x 1] = matmul params 0..1 (1 x 2) @ v1",
        "terms v2",
    ]


@pytest.mark.parametrize("stride", [1, 0])
def test_vectors_that_overlap_are_copied(stride: int) -> None:
    """A convolution: the gradients of several vectors meet in one row, which is written once."""

    def convolve(p: list[Tracer]) -> list[Tracer]:
        x = [q.exp() for q in p[2:6]]
        return [0 + p[0] * x[j] + p[1] * x[j + stride] for j in range(3)]

    program = program_of(convolve, 6)

    (matmul,) = (i for i in program.instructions if isinstance(i, Matmul))
    assert matmul.vectors == 3
    assert len(set(matmul.x_rows)) == 6
