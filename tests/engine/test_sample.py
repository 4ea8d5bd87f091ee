"""Drawing documents: what chance decides, what the prompt decides, and where it ends."""

import random
from array import array
from collections.abc import Mapping, Sequence

import pytest

from engine.config import ModelConfig
from engine.model import Cache, forward, softmax
from engine.params import as_matrices, initialise, layout_of
from engine.sample import sample_tokens
from engine.scalar import FLOATS

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=5, n_embd=4, n_head=2, block_size=6)
BOS = 4
MATRICES = as_matrices(layout_of(CONFIG), initialise(CONFIG, random.Random(3)).tolist())


def matrices_that_prefer(token: int) -> Mapping[str, Sequence[Sequence[float]]]:
    """Give parameters whose every logit but that of `token` is far below it."""
    flat = array("d", bytes(8 * CONFIG.num_params))
    matrices = dict(as_matrices(layout_of(CONFIG), flat.tolist()))
    matrices["wpe"] = [[1.0] * 4 for _ in range(6)]  # so that x is all ones, whatever the token
    matrices["lm_head"] = [[25.0 * (row == token)] * 4 for row in range(5)]
    return matrices


def test_the_same_generator_draws_the_same_documents() -> None:
    one, other = random.Random(8), random.Random(8)

    drawn = [sample_tokens(CONFIG, MATRICES, one, 1.0) for _ in range(20)]
    again = [sample_tokens(CONFIG, MATRICES, other, 1.0) for _ in range(20)]

    assert drawn == again
    assert len({tuple(document) for document in drawn}) > 5


def test_a_document_is_drawn_as_microgpt_draws_it() -> None:
    rng, expected_rng = random.Random(8), random.Random(8)
    expected = []
    for _ in range(20):
        token, document, cache = BOS, [], Cache(CONFIG)
        for position in range(6):
            logits = forward(FLOATS, CONFIG, MATRICES, cache, token, position)
            weights = softmax(FLOATS, [logit * 0.7**-1 for logit in logits])
            token = expected_rng.choices(range(5), weights=weights)[0]
            if token == BOS:
                break
            document.append(token)
        expected.append(document)

    drawn = [sample_tokens(CONFIG, MATRICES, rng, 0.7) for _ in range(20)]

    assert drawn == expected
    assert {len(document) for document in drawn} >= {0, 2, 6}  # BOS first, in the middle, never


def test_another_seed_draws_other_documents() -> None:
    one, other = random.Random(8), random.Random(9)

    drawn = [sample_tokens(CONFIG, MATRICES, one, 1.0) for _ in range(5)]
    others = [sample_tokens(CONFIG, MATRICES, other, 1.0) for _ in range(5)]

    assert drawn != others


@pytest.mark.parametrize("prompt", [[], [2], [0, 3, 1], [1, 1, 1, 1, 1]])
def test_a_document_begins_with_its_prompt(prompt: list[int]) -> None:
    for seed in range(10):
        document = sample_tokens(CONFIG, MATRICES, random.Random(seed), 1.0, prompt)

        assert document[: len(prompt)] == prompt


def test_a_token_after_a_prompt_is_drawn_with_the_whole_prompt_in_view() -> None:
    cache = Cache(CONFIG)
    logits = []
    for position, token in enumerate([BOS, 2, 0, 3]):
        logits = forward(FLOATS, CONFIG, MATRICES, cache, token, position)
    likeliest = max(range(5), key=logits.__getitem__)
    expected = [] if likeliest == BOS else [likeliest]

    document = sample_tokens(CONFIG, MATRICES, random.Random(0), 1e-6, [2, 0, 3], max_tokens=1)

    assert document == [2, 0, 3, *expected]


def test_at_a_low_temperature_the_likeliest_token_is_always_drawn() -> None:
    token, expected, cache = BOS, [], Cache(CONFIG)
    for position in range(CONFIG.block_size):
        logits = forward(FLOATS, CONFIG, MATRICES, cache, token, position)
        token = max(range(5), key=logits.__getitem__)
        if token == BOS:
            break
        expected.append(token)

    drawn = [sample_tokens(CONFIG, MATRICES, random.Random(seed), 1e-6) for seed in range(20)]

    assert drawn == [expected] * 20


def test_at_a_high_temperature_every_token_is_as_likely_as_another() -> None:
    rng = random.Random(0)

    first = [
        tuple(sample_tokens(CONFIG, matrices_that_prefer(2), rng, 1e6, max_tokens=1))
        for _ in range(500)
    ]

    assert {first.count(end) // 50 for end in ((), (0,), (1,), (2,), (3,))} <= {1, 2}


def test_a_document_is_never_longer_than_block_size() -> None:
    assert sample_tokens(CONFIG, matrices_that_prefer(2), random.Random(0), 1.0) == [2] * 6


def test_a_document_with_a_prompt_is_never_longer_than_block_size() -> None:
    document = sample_tokens(CONFIG, matrices_that_prefer(2), random.Random(0), 1.0, [1, 0], 100)

    assert document == [1, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_max_tokens_bounds_what_follows_the_prompt(max_tokens: int) -> None:
    document = sample_tokens(
        CONFIG, matrices_that_prefer(2), random.Random(0), 1.0, [1, 0], max_tokens
    )

    assert document == [1, 0] + [2] * max_tokens


def test_bos_ends_a_document_and_is_not_part_of_it() -> None:
    assert sample_tokens(CONFIG, matrices_that_prefer(BOS), random.Random(0), 1.0, [1]) == [1]


def test_the_generator_advances_once_for_each_token_that_is_not_in_the_prompt() -> None:
    rng, expected = random.Random(5), random.Random(5)

    sample_tokens(CONFIG, matrices_that_prefer(2), rng, 1.0, [1, 0])

    for _ in range(4):
        expected.random()
    assert rng.getstate() == expected.getstate()


def test_prompts_that_differ_in_a_later_token_lead_elsewhere() -> None:
    rng = random.Random(3)
    flat = [rng.gauss(0, 1) for _ in range(CONFIG.num_params)]
    matrices = as_matrices(layout_of(CONFIG), flat)
    seeds = range(50)

    one = [sample_tokens(CONFIG, matrices, random.Random(s), 1.0, [0, 1, 2])[3:] for s in seeds]
    other = [sample_tokens(CONFIG, matrices, random.Random(s), 1.0, [0, 3, 2])[3:] for s in seeds]

    assert one != other
