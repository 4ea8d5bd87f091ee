"""What a run starts from: microgpt's order of draws, and the held-out split beside it."""

import random

import pytest

from engine.config import TrainConfig
from engine.errors import ConfigError, DatasetError
from engine.run import prepare_run
from engine.shards import hold_out, shuffled

pytestmark = pytest.mark.unit

TEXTS = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "charlotte", "amelia"]
SHAPE = {"n_embd": 4, "n_head": 2, "block_size": 6}


def settings(**changes: float) -> TrainConfig:
    return TrainConfig(steps=1, batch_size=1, shards=1, **changes)  # type: ignore[arg-type]


def test_a_run_draws_its_order_and_then_its_parameters_from_one_generator() -> None:
    rng = random.Random(42)
    order = list(TEXTS)
    rng.shuffle(order)

    run = prepare_run(TEXTS, settings(), SHAPE)

    characters = run.tokenizer.characters
    assert [run.tokenizer.decode(tokens[1:-1]) for tokens in run.documents if len(tokens) < 7] == [
        text for text in order if len(text) < 6
    ]
    assert characters == "".join(sorted(set("".join(TEXTS))))
    assert list(run.params) == [rng.gauss(0, 0.08) for _ in range(run.model.num_params)]
    assert run.rng_state == rng.getstate()


def test_a_run_has_the_shape_it_was_given_and_the_vocabulary_of_its_documents() -> None:
    run = prepare_run(["ab", "bc"], settings(), SHAPE)

    assert (run.model.vocab_size, run.model.n_embd, run.model.block_size) == (4, 4, 6)
    assert sorted(run.documents) == [[3, 0, 1, 3], [3, 1, 2, 3]]


def test_a_document_is_cut_to_the_block_size_of_the_model() -> None:
    run = prepare_run(["abcabcabc", "abcabcabc"], settings(), SHAPE)

    assert run.documents == [[3, 0, 1, 2, 0, 1, 2]] * 2


def test_another_seed_gives_other_parameters() -> None:
    one, other = prepare_run(TEXTS, settings(seed=1), SHAPE), prepare_run(TEXTS, settings(), SHAPE)

    assert one.params != other.params


def test_holding_documents_out_changes_neither_parameters_nor_vocabulary_nor_order() -> None:
    whole = prepare_run(TEXTS, settings(), SHAPE)

    split = prepare_run(TEXTS, settings(held_out=0.5), SHAPE)

    assert (split.params, split.rng_state) == (whole.params, whole.rng_state)
    assert split.tokenizer.characters == whole.tokenizer.characters
    assert split.held_out
    assert split.documents == [tokens for tokens in whole.documents if tokens in split.documents]
    assert sorted([*split.documents, *split.held_out]) == sorted(whole.documents)


def test_a_run_without_a_held_out_split_trains_on_everything() -> None:
    run = prepare_run(TEXTS, settings(), SHAPE)

    assert (len(run.documents), len(run.held_out)) == (8, 0)


def test_no_documents_are_refused() -> None:
    with pytest.raises(DatasetError, match="expected documents"):
        prepare_run([], settings(), SHAPE)


@pytest.mark.parametrize(
    ("fraction", "counts"),
    [
        (0.999999, "got 0 to train on and 8 held out"),
        (0.000001, "got 8 to train on and 0 held out"),
    ],
)
def test_a_split_with_an_empty_side_is_refused_with_both_counts(
    fraction: float, counts: str
) -> None:
    with pytest.raises(DatasetError, match=rf"{counts}.* — dataset; change --held-out"):
        prepare_run(TEXTS, settings(held_out=fraction), SHAPE)


def test_an_impossible_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of n_head"):
        prepare_run(TEXTS, settings(), {"n_embd": 5, "n_head": 2})


def test_the_seed_of_a_run_decides_its_held_out_split_too() -> None:
    texts = [first + last for first in "abcdefgh" for last in "abcdefgh"]
    order = shuffled(texts, random.Random(7))

    run = prepare_run(texts, settings(seed=7, held_out=0.5), SHAPE)

    _, held_out = hold_out(order, 7, 0.5)
    assert [run.tokenizer.decode(tokens[1:-1]) for tokens in run.held_out] == held_out
