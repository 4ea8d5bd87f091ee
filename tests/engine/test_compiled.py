"""The compiled engine against eager: models, lengths, shards, and which bits are the same."""

import math
import random
import threading
from array import array
from dataclasses import replace

import pytest

from engine.compiled import Compiled, compile_model, program_lengths
from engine.config import ModelConfig
from engine.eager import Eager, document_gradient
from engine.gradient import GradientSum
from engine.params import Flat, initialise
from engine.shards import Tokens

pytestmark = pytest.mark.oracle

CLOSE = 1e-12
DEFAULT = ModelConfig(vocab_size=27)
SMALL = ModelConfig(vocab_size=5, n_embd=8, n_head=2, block_size=6)
PARAMS = initialise(SMALL, random.Random(1))


def documents_of(model: ModelConfig, lengths: list[int], seed: int = 1) -> list[list[int]]:
    """Make documents of so many positions."""
    rng = random.Random(seed)
    return [[rng.randrange(model.vocab_size) for _ in range(length + 1)] for length in lengths]


def mixed(model: ModelConfig, count: int, seed: int = 1) -> list[list[int]]:
    rng = random.Random(seed)
    return documents_of(model, [rng.randint(1, model.block_size) for _ in range(count)], seed)


def assert_close(found: GradientSum, expected: GradientSum) -> None:
    """Within 1e-12, relative, in the largest norm."""
    assert found.loss == pytest.approx(expected.loss, rel=CLOSE)
    size = max(map(abs, expected.grad))
    assert size > 0
    assert list(found.grad) == pytest.approx(list(expected.grad), rel=0, abs=CLOSE * size)


def eager_sum(model: ModelConfig, params: Flat, documents: list[list[int]]) -> GradientSum:
    return Eager(model).gradient(params, documents)


# ---- against eager -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default() -> Compiled:
    """The default model, compiled once."""
    return Compiled(DEFAULT)


@pytest.mark.parametrize("positions", range(1, 17))
def test_a_document_has_eagers_gradient_at_every_length(default: Compiled, positions: int) -> None:
    params = initialise(DEFAULT, random.Random(42))
    (tokens,) = documents_of(DEFAULT, [positions], seed=positions)

    assert_close(default.gradient(params, [tokens]), document_gradient(DEFAULT, params, tokens))


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(vocab_size=27, n_layer=2, n_embd=32, n_head=2, block_size=4),
        ModelConfig(vocab_size=9, activation="relu2"),
        ModelConfig(vocab_size=9, norm="layer"),
        ModelConfig(
            vocab_size=27, n_layer=2, n_embd=32, n_head=2, block_size=3, activation="relu2",
            norm="layer",
        ),
        ModelConfig(vocab_size=9, block_size=5),
        ModelConfig(vocab_size=5, n_embd=8, n_head=2, block_size=20),
        ModelConfig(vocab_size=5, n_embd=6, n_head=3, block_size=7),
        ModelConfig(vocab_size=3, n_layer=3, n_embd=5, n_head=1, block_size=3),
        ModelConfig(vocab_size=3, n_embd=1, n_head=1, block_size=1),
    ],
    ids=lambda model: f"{model.n_layer}x{model.n_embd}x{model.n_head}-{model.block_size}"
    f"-{model.activation}-{model.norm}",
)  # fmt: skip
def test_a_shard_has_eagers_gradient_for_every_model(model: ModelConfig) -> None:
    params = initialise(model, random.Random(7))
    shard = documents_of(model, [model.block_size, 1, max(1, model.block_size // 2)])
    engine = Compiled(model)

    found = engine.gradient(params, shard)

    assert_close(found, eager_sum(model, params, shard))
    assert engine.losses(params, shard) == pytest.approx(
        Eager(model).losses(params, shard), rel=CLOSE
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "model",
    [
        replace(DEFAULT, n_layer=2),
        replace(DEFAULT, n_layer=2, n_embd=32, n_head=2),
        replace(DEFAULT, activation="relu2"),
        replace(DEFAULT, norm="layer"),
    ],
    ids=["two layers", "two wider layers", "relu2", "layer norm"],
)
def test_every_length_of_every_model_has_eagers_gradient(model: ModelConfig) -> None:
    params = initialise(model, random.Random(42))
    engine = Compiled(model)
    for tokens in documents_of(model, [*range(1, 17)], seed=3):
        assert_close(engine.gradient(params, [tokens]), document_gradient(model, params, tokens))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17])
def test_any_number_of_documents_is_a_shard(count: int) -> None:
    documents = mixed(SMALL, count, seed=count)

    found = Compiled(SMALL).gradient(PARAMS, documents)

    assert_close(found, eager_sum(SMALL, PARAMS, documents))


def test_trained_parameters_are_no_exception() -> None:
    """Certain predictions: probabilities near 0 and 1, and norms far from 1."""
    params = array("d", (20 * param for param in PARAMS))
    documents = mixed(SMALL, 9)

    assert_close(Compiled(SMALL).gradient(params, documents), eager_sum(SMALL, params, documents))


def test_an_empty_shard_is_a_sum_of_nothing() -> None:
    assert Compiled(SMALL).gradient(PARAMS, []) == GradientSum(
        0.0, array("d", bytes(8 * SMALL.num_params))
    )
    assert Compiled(SMALL).losses(PARAMS, []) == []


def test_programs_are_padded_to_an_eighth_of_an_octave_beyond_sixteen_positions() -> None:
    assert program_lengths(5) == [1, 2, 3, 4, 5]
    assert program_lengths(20) == [*range(1, 17), 18, 20]
    assert program_lengths(33) == [*range(1, 17), 18, 20, 22, 24, 26, 28, 30, 32, 33]
    for block_size in range(1, 300):
        lengths = program_lengths(block_size)
        assert lengths[-1] == block_size
        for positions in range(1, block_size + 1):
            program = min(length for length in lengths if length >= positions)
            assert program <= positions * 9 / 8


# ---- the same bits -----------------------------------------------------------------------------


def test_a_shard_has_the_same_bits_whatever_ran_before() -> None:
    shard = mixed(SMALL, 13)
    fresh = Compiled(SMALL).gradient(PARAMS, shard)
    engine = Compiled(SMALL)

    nan = array("d", [math.nan]) * SMALL.num_params
    huge = array("d", (1e200 * param for param in PARAMS))
    for params, count in ((PARAMS, 1), (nan, 8), (huge, 3), (PARAMS, 40), (nan, 1)):
        engine.gradient(params, mixed(SMALL, count, seed=count))
        engine.losses(params, mixed(SMALL, count, seed=count))

        assert engine.gradient(PARAMS, shard) == fresh


def test_every_engine_of_a_process_gives_the_same_bits() -> None:
    shard = mixed(SMALL, 13)
    deeper = replace(SMALL, n_layer=2, block_size=3)
    other, deep_params = Compiled(deeper), initialise(deeper, random.Random(1))
    engines = [Compiled(SMALL), Compiled(SMALL)]

    results = []
    for engine in (*engines, *reversed(engines)):
        other.gradient(deep_params, [[4, 1, 4]])
        results.append(engine.gradient(PARAMS, shard))

    assert results == [results[0]] * 4


def test_a_programs_library_may_be_shared() -> None:
    library = compile_model(SMALL)
    shard = mixed(SMALL, 13)

    kept = Compiled(SMALL, lambda _: library)

    assert kept.gradient(PARAMS, shard) == Compiled(SMALL).gradient(PARAMS, shard)


def test_threads_with_an_engine_each_give_the_same_bits() -> None:
    """A coordinator evaluates beside its other work; replays let go of the interpreter's lock."""
    shard, held_out = mixed(SMALL, 100), mixed(SMALL, 300, seed=9)
    engine, evaluating = Compiled(SMALL), Compiled(SMALL)
    gradient, losses = engine.gradient(PARAMS, shard), evaluating.losses(PARAMS, held_out)
    found: list[list[float]] = []

    def evaluate() -> None:
        found.extend(evaluating.losses(PARAMS, held_out) for _ in range(20))

    thread = threading.Thread(target=evaluate)
    thread.start()
    gradients = [engine.gradient(PARAMS, shard) for _ in range(20)]
    thread.join()

    assert gradients == [gradient] * 20
    assert found == [losses] * 20


def test_a_loss_has_the_same_bits_alone_and_among_others_with_a_gradient_or_without() -> None:
    engine = Compiled(SMALL)
    documents = mixed(SMALL, 19)

    together = engine.losses(PARAMS, documents)

    assert [engine.losses(PARAMS, [tokens]) for tokens in documents] == [[x] for x in together]
    assert [engine.gradient(PARAMS, [tokens]).loss for tokens in documents] == together
    assert engine.losses(PARAMS, documents[::-1]) == together[::-1]


def test_the_loss_of_a_shard_is_the_left_to_right_sum_of_its_documents() -> None:
    engine = Compiled(SMALL)
    documents = mixed(SMALL, 19)

    total = 0.0
    for loss in engine.losses(PARAMS, documents):
        total += loss

    assert engine.gradient(PARAMS, documents).loss == total


def test_blocks_of_eight_add_up_from_left_to_right() -> None:
    """The gradient of a shard is close to the sum of its documents', and its bits are fixed."""
    engine = Compiled(SMALL)
    documents = mixed(SMALL, 19)

    total = GradientSum(0.0, array("d", bytes(8 * SMALL.num_params)))
    for tokens in documents:
        total = engine.plus(total, engine.gradient(PARAMS, [tokens]))

    assert_close(engine.gradient(PARAMS, documents), total)


def test_what_a_caller_holds_is_never_written_to() -> None:
    engine = Compiled(SMALL)
    params, documents = array("d", PARAMS), mixed(SMALL, 3)
    first = engine.gradient(params, documents)
    kept = array("d", first.grad)

    engine.gradient(params, documents)

    assert params == PARAMS
    assert first.grad == kept


def test_documents_may_be_any_sequence_of_tokens() -> None:
    documents: list[Tokens] = [[4, 0, 4], [4, 1, 2, 4]]
    packed: list[Tokens] = [array("H", tokens) for tokens in documents]
    engine = Compiled(SMALL)

    assert engine.gradient(PARAMS, packed) == engine.gradient(PARAMS, documents)
    assert engine.losses(PARAMS, [tuple(tokens) for tokens in documents]) == engine.losses(
        PARAMS, documents
    )


def test_parameters_outside_the_floats_give_no_number_and_raise_nothing() -> None:
    engine = Compiled(SMALL)
    documents = mixed(SMALL, 3)
    for factor in (math.nan, math.inf, 1e200):
        params = array("d", (factor * param for param in PARAMS))

        result = engine.gradient(params, documents)

        assert not all(map(math.isfinite, [result.loss, *result.grad]))


# ---- weight 0 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "documents"), [(0, [[2, 1]]), (2, [[2, 1], [2, 1, 1]])])
def test_a_probability_of_zero_where_nothing_counts_is_no_nan(
    seed: int, documents: list[list[int]]
) -> None:
    """Token 0 stands in empty lanes; a model that has ruled it out has log(0) there."""
    model = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=3)
    params = initialise(model, random.Random(seed))
    first = 2 * (model.vocab_size + model.block_size)  # of lm_head, which comes third
    for i in range(first, first + 2 * model.vocab_size):
        params[i] *= 1e4

    found, expected = (
        engine.gradient(params, documents) for engine in (Compiled(model), Eager(model))
    )

    assert found.loss == pytest.approx(expected.loss, rel=CLOSE, abs=CLOSE)
    assert list(found.grad) == pytest.approx(list(expected.grad), rel=CLOSE, abs=1e-9)
    assert Compiled(model).losses(params, documents) == pytest.approx(
        Eager(model).losses(params, documents), rel=CLOSE, abs=CLOSE
    )
