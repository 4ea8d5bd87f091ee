"""The decoder: the model's own logits, whoever else is beside a document."""

import random
from array import array
from collections.abc import Sequence

import numpy as np
import pytest

from engine.config import ModelConfig
from engine.decode import LANES, Array, Decoder, Weights
from engine.model import Cache, forward
from engine.params import as_matrices, layout_of
from engine.scalar import FLOATS

pytestmark = pytest.mark.unit

CONFIGS = [
    ModelConfig(vocab_size=27),
    ModelConfig(vocab_size=5, n_layer=2, n_embd=12, n_head=3, block_size=9, activation="relu2"),
    ModelConfig(vocab_size=4, n_embd=2, n_head=1, block_size=5, norm="layer"),
]


def params_of(config: ModelConfig) -> "array[float]":
    rng = random.Random(5)
    return array("d", (rng.gauss(0, 0.4) for _ in range(config.num_params)))


def alone(config: ModelConfig, document: Sequence[int], lane: int = 0) -> list[Array]:
    """Give the logits after each token of a document that has a decoder for itself."""
    return beside(config, {lane: (document, 0)}, lane, tiles=1)


def beside(
    config: ModelConfig,
    documents: dict[int, tuple[Sequence[int], int]],
    wanted: int,
    tiles: int,
) -> list[Array]:
    """Give the logits of one lane; `documents` maps lanes to tokens and the turn they begin at."""
    decoder = Decoder(Weights(config, params_of(config)), tiles)
    tokens = np.zeros((tiles, LANES), np.int64)
    positions = np.zeros((tiles, LANES), np.int64)
    last = max(start + len(document) for document, start in documents.values())
    logits = []
    for turn in range(last):
        for lane, (document, start) in documents.items():
            if start <= turn < start + len(document):
                tokens.flat[lane], positions.flat[lane] = document[turn - start], turn - start
        found = decoder.advance(tokens, positions)
        document, start = documents[wanted]
        if start <= turn < start + len(document):
            logits.append(found[wanted // LANES, :, wanted % LANES].copy())
    return logits


def a_document(config: ModelConfig, rng: random.Random) -> list[int]:
    length = rng.randrange(1, config.block_size + 1)
    return [config.vocab_size - 1, *rng.choices(range(config.vocab_size), k=length - 1)]


@pytest.mark.parametrize("config", CONFIGS)
def test_logits_are_those_of_the_model(config: ModelConfig) -> None:
    matrices = as_matrices(layout_of(config), params_of(config).tolist())
    rng = random.Random(1)
    for _ in range(5):
        document, cache = a_document(config, rng), Cache(config)
        expected = [
            forward(FLOATS, config, matrices, cache, token, position)
            for position, token in enumerate(document)
        ]

        np.testing.assert_allclose(alone(config, document), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_bits_of_a_document_do_not_depend_on_who_is_beside_it(config: ModelConfig) -> None:
    """A seed draws the same names whether a sampler is idle or busy."""
    rng = random.Random(2)
    for _ in range(10):
        document = a_document(config, rng)
        expected = alone(config, document)
        lane = rng.randrange(3 * LANES)
        others = {
            other: (a_document(config, rng), rng.randrange(4))
            for other in rng.sample(range(3 * LANES), 30)
        }
        crowd = {**others, lane: (document, rng.randrange(4))}

        found = beside(config, crowd, lane, tiles=3)

        assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_lane_gives_the_same_bits(config: ModelConfig) -> None:
    document = a_document(config, random.Random(3))

    found = {tuple(one.tobytes() for one in alone(config, document, lane)) for lane in range(LANES)}

    assert len(found) == 1


def test_a_lane_forgets_the_document_before() -> None:
    config = CONFIGS[0]
    decoder = Decoder(Weights(config, params_of(config)), 1)
    positions = np.zeros((1, LANES), np.int64)
    before, document = [26, 3, 4, 5, 6, 7], [26, 9, 1]
    for token in before:
        decoder.advance(np.full((1, LANES), token), positions)
        positions[:] += 1

    positions[:] = 0
    for token in document:
        logits = decoder.advance(np.full((1, LANES), token), positions)
        positions[:] += 1

    assert logits[0, :, 0].tobytes() == alone(config, document)[-1].tobytes()


def test_numbers_that_overflow_are_not_finite_and_warn_nobody() -> None:
    config = CONFIGS[0]
    decoder = Decoder(Weights(config, array("d", [1e308] * config.num_params)), 1)
    ids = np.zeros((1, LANES), np.int64)

    assert not np.isfinite(decoder.advance(ids, ids)).all()
