"""Which documents make a step and a shard, and which are held out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.shards import (
    branch_documents,
    cursor,
    cut_branch,
    global_batch,
    hold_out,
    order_by_length,
    shard_bounds,
    shuffled,
)
from engine.tree import cut_branches

pytestmark = pytest.mark.unit

NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "ava", "charlotte", "mia"]


def test_the_steps_walk_through_the_documents_and_wrap_around() -> None:
    documents = ["a", "b", "c", "d", "e"]

    batches = [global_batch(documents, step, 2) for step in range(4)]

    assert batches == [["a", "b"], ["c", "d"], ["e", "a"], ["b", "c"]]


def test_a_batch_larger_than_the_dataset_takes_documents_again() -> None:
    assert global_batch(["a", "b"], 1, 5) == ["b", "a", "b", "a", "b"]


def test_a_late_step_is_found_without_walking_there() -> None:
    assert global_batch(["a", "b", "c"], 10**15, 2) == ["c", "a"]


def test_a_batch_is_ordered_by_length_and_equal_lengths_keep_their_order() -> None:
    batch = [[9, 9], [5], [8, 8], [7, 7, 7], [6], [1, 1]]

    assert order_by_length(batch) == [[5], [6], [9, 9], [8, 8], [1, 1], [7, 7, 7]]


def test_the_bounds_of_a_shard_are_those_of_the_design() -> None:
    assert [shard_bounds(shard, 10, 4) for shard in range(4)] == [(0, 2), (2, 5), (5, 7), (7, 10)]


@given(st.integers(1, 60), st.data())
def test_the_shards_cover_all_documents_and_differ_by_one_at_most(
    batch_size: int, data: st.DataObject
) -> None:
    num_shards = data.draw(st.integers(1, batch_size))
    batch = [[i] for i in range(batch_size)]

    shards = cut_branch(batch, 0, num_shards, batch_size, num_shards)

    sizes = {len(shard) for shard in shards}
    assert [document for shard in shards for document in shard] == batch
    assert len(shards) == num_shards
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 60), st.integers(1, 50), st.data())
def test_a_branch_is_cut_as_the_whole_batch_is(
    batch_size: int, count: int, data: st.DataObject
) -> None:
    num_shards = data.draw(st.integers(1, batch_size))
    batch = [[i] for i in range(batch_size)]
    whole = cut_branch(batch, 0, num_shards, batch_size, num_shards)

    for lo, hi in cut_branches(num_shards, count):
        documents = branch_documents(batch, lo, hi, num_shards)

        assert cut_branch(documents, lo, hi, batch_size, num_shards) == whole[lo:hi]


def test_the_order_of_a_run_is_its_generators_shuffle() -> None:
    expected = list(NAMES)
    random.Random(42).shuffle(expected)

    assert shuffled(NAMES, random.Random(42)) == expected


def test_shuffling_leaves_the_given_documents_alone() -> None:
    documents = ["a", "b", "c", "d"]

    shuffled(documents, random.Random(1))

    assert documents == ["a", "b", "c", "d"]


def test_the_held_out_split_is_the_same_in_every_process_and_version() -> None:
    train, held_out = hold_out(NAMES, 42, 0.5)

    assert train == ["emma", "ava", "isabella", "ava", "charlotte"]
    assert held_out == ["olivia", "sophia", "mia", "mia"]


def test_another_seed_holds_out_other_documents() -> None:
    documents = [f"name {i}" for i in range(100)]

    assert hold_out(documents, 1, 0.5) != hold_out(documents, 2, 0.5)


@given(st.lists(st.sampled_from("abcdefgh")), st.floats(0.1, 0.9))
def test_repeats_of_a_text_fall_on_one_side(documents: list[str], fraction: float) -> None:
    train, held_out = hold_out(documents, 42, fraction)

    assert not set(train) & set(held_out)


@given(st.lists(st.sampled_from("abcdefgh")), st.floats(0.1, 0.9))
def test_both_sides_of_the_split_keep_the_order_of_the_documents(
    documents: list[str], fraction: float
) -> None:
    train, held_out = hold_out(documents, 42, fraction)

    assert train == [document for document in documents if document not in held_out]
    assert held_out == [document for document in documents if document in held_out]


def test_about_the_asked_fraction_is_held_out() -> None:
    documents = [f"name {i}" for i in range(10_000)]

    _, held_out = hold_out(documents, 42, 0.05)

    assert len(held_out) == pytest.approx(500, abs=66)  # three standard deviations


def test_a_larger_fraction_holds_out_the_same_documents_and_more() -> None:
    documents = [f"name {i}" for i in range(1000)]

    _, few = hold_out(documents, 42, 0.05)
    _, many = hold_out(documents, 42, 0.2)

    assert set(few) < set(many)


def test_a_fraction_of_zero_holds_nothing_out() -> None:
    assert hold_out(NAMES, 42, 0.0) == (NAMES, [])


def test_a_branch_carries_its_own_documents_and_no_others() -> None:
    ordered = [[i] for i in range(10)]  # shards of 2, 3, 2 and 3

    assert branch_documents(ordered, 1, 3, num_shards=4) == [[2], [3], [4], [5], [6]]


@pytest.mark.parametrize("step", range(9))
def test_the_cursor_is_where_the_documents_of_a_step_begin(step: int) -> None:
    documents = list(range(7))

    there = cursor(step, 3, len(documents))

    assert documents[there.position] == global_batch(documents, step, 3)[0]
    assert there.epoch * len(documents) + there.position == 3 * step
