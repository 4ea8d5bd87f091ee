"""Drawing many documents side by side: each is what the scalar model draws alone."""

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.params import as_matrices, layout_of
from engine.sample import generator, sample_tokens
from sampler.model import ModelDiverged, ServedModel
from sampler.order import LENGTH, STOP, Order, Piece, Settings
from sampler.sampling import Sampling, draw_all
from tests.sampler.test_model import RUN, checkpoint

pytestmark = pytest.mark.unit

RNG = random.Random(11)
PARAMS = array("d", (RNG.gauss(0, 0.6) for _ in range(RUN.model.num_params)))
MODEL = ServedModel(replace(checkpoint(3), params=PARAMS))
MATRICES = as_matrices(layout_of(RUN.model), PARAMS.tolist())


def order(
    *prompts: str, n: int = 1, seed: int | None = 7, streamed: bool = False, **settings: object
) -> Order:
    tokens = tuple(tuple(MODEL.check_prompt(prompt)) for prompt in prompts or ("",))
    return Order(MODEL, tokens, n, Settings(**settings), seed, streamed)  # type: ignore[arg-type]


def alone(one: Order, choice: int, rng: random.Random | None = None) -> str:
    """Give a choice's text as `engine.sample` draws it."""
    prompt, settings = one.prompt(choice), one.settings
    tokens = sample_tokens(
        RUN.model,
        MATRICES,
        rng or one.rng(choice),
        settings.temperature,
        prompt,
        settings.max_tokens,
        settings.top_p,
    )
    return MODEL.tokenizer.decode(tokens[len(prompt) :])


def pieces_of(one: Order, *others: Order) -> list[Piece]:
    """Draw an order to its end, beside others."""
    sampling = Sampling()
    for each in (*others, one):
        sampling.open(each)
    found: list[Piece] = []
    while sampling.is_open(one):
        for drawn, outcome in sampling.advance():
            if drawn is one:
                assert not isinstance(outcome, ModelDiverged)
                found += outcome
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0},
        {"temperature": 1.7},
        {"top_p": 0.6},
        {"top_p": 0.01, "temperature": 5.0},
        {"max_tokens": 2},
        {"max_tokens": 0},
    ],
    ids=str,
)
def test_a_seed_draws_the_names_that_the_scalar_model_draws(settings: dict[str, float]) -> None:
    one = order("", "ab", "abbabab", n=100, **settings)

    assert draw_all(one) == [alone(one, choice) for choice in range(300)]


def test_the_generator_of_the_run_draws_one_after_the_other_as_microgpt_does() -> None:
    one, rng = order(n=20, seed=None), MODEL.microgpt_rng()

    assert draw_all(one) == [alone(one, choice, rng) for choice in range(20)]


def test_what_is_drawn_does_not_depend_on_who_else_draws() -> None:
    quiet = pieces_of(order("ba", n=5, logprobs=2))
    busy = pieces_of(
        order("ba", n=5, logprobs=2),
        order(n=300, seed=1),
        order("a", n=9, seed=None),
        order("b", n=2, streamed=True, temperature=0),
    )

    assert sorted(quiet, key=lambda piece: piece.choice) == sorted(
        busy, key=lambda piece: piece.choice
    )


def test_the_first_five_of_ten_are_those_of_five() -> None:
    assert draw_all(order(n=10))[:5] == draw_all(order(n=5))
    assert len(set(draw_all(order(n=10)))) > 1


def test_orders_take_turns_so_that_a_large_one_makes_nobody_wait() -> None:
    sampling, large, small = Sampling(), order(n=5000), order()
    sampling.open(large)
    sampling.advance()
    sampling.open(small)
    turns = 0
    while sampling.is_open(small):
        sampling.advance()
        turns += 1

    assert turns <= 2 * RUN.model.block_size
    assert sampling.is_open(large)


def test_pieces_of_a_stream_are_the_letters_of_the_whole() -> None:
    whole, streamed = order("a", n=30), order("a", n=30, streamed=True)
    texts = [""] * 30
    pieces = pieces_of(streamed)
    for piece in pieces:
        texts[piece.choice] += piece.text

    assert texts == draw_all(whole)
    assert Counter(piece.choice for piece in pieces if piece.finish_reason) == Counter(range(30))
    assert max(len(piece.text) for piece in pieces) == 1


def test_a_choice_ends_by_bos_or_for_want_of_room() -> None:
    for piece in pieces_of(order("ab", n=50)):
        is_full = len(piece.text) == RUN.model.block_size - 2
        assert piece.finish_reason == (LENGTH if is_full else STOP)
        assert piece.tokens == len(piece.text) + (not is_full)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("stop", [("b",), ("ba",), ("abb", "aa"), ("bb", "bba")])
def test_a_stop_text_ends_a_choice_and_is_not_part_of_it(
    stop: Sequence[str], streamed: bool
) -> None:
    plain = draw_all(order(n=60))
    expected = [cut(text, stop) for text in plain]
    texts, tokens = [""] * 60, [0] * 60
    for piece in pieces_of(order(n=60, stop=tuple(stop), streamed=streamed, logprobs=0)):
        texts[piece.choice] += piece.text
        tokens[piece.choice] += piece.tokens
        assert len(piece.scores) == len(piece.text)

    assert texts == expected
    assert texts != plain
    assert all(count >= len(text) for count, text in zip(tokens, texts, strict=True))


def cut(text: str, stops: Sequence[str]) -> str:
    for end in range(1, len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return text[: end - len(stop)]
    return text


def test_scores_are_the_logarithms_of_probabilities_at_temperature_1() -> None:
    (piece,) = pieces_of(order("ab", temperature=3.0, logprobs=3, scores_prompt=True))

    assert [score.token for score in piece.scores] == [*"ab", *piece.text]
    for score in piece.scores:
        assert len(score.top) == 3
        assert [value for _, value in score.top] == sorted((v for _, v in score.top), reverse=True)
        total = 0.0
        for _, value in score.top:  # of a, b and BOS: all that there is
            total += 2.718281828459045**value
        assert total == pytest.approx(1.0)
        assert dict(score.top)[score.token] == score.logprob


@pytest.mark.parametrize("settings", [Settings(), Settings(0), Settings(0, 0.5), Settings(9, 0.5)])
def test_a_model_that_has_diverged_is_named_and_its_order_is_over(settings: Settings) -> None:
    broken = ServedModel(replace(checkpoint(3), params=array("d", [1e308] * len(PARAMS))))
    one, fine = Order(broken, ((),), 3, settings, 1), order()
    sampling = Sampling()
    sampling.open(one)
    sampling.open(fine)

    outcomes = dict(sampling.advance())

    assert "step 3; training has diverged" in str(outcomes[one])
    assert not sampling.is_open(one)
    assert sampling.is_open(fine)


def test_an_order_that_is_cancelled_leaves_its_lanes() -> None:
    sampling, one = Sampling(), order(n=500)
    sampling.open(one)
    sampling.advance()

    sampling.cancel(one)
    sampling.cancel(one)

    assert sampling.num_open == 0
    assert sampling.advance() == []
    assert draw_all(order(n=3)) == draw_all(order(n=3))


def test_each_sample_of_a_seed_has_its_own_generator() -> None:
    assert generator(3, 0).random() != generator(3, 1).random()
    assert generator(3, 1).random() == generator(3, 1).random()
