"""The reduction tree: one shape, covered exactly by any cut, the same bits whoever adds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tree import Branch, cut_branches, split, tree_sum

pytestmark = pytest.mark.unit

shard_counts = st.integers(1, 40)
branch_counts = st.integers(1, 50)


def nodes_of(lo: int, hi: int) -> set[Branch]:
    if hi - lo == 1:
        return {(lo, hi)}
    left = 1
    while 2 * left < hi - lo:
        left *= 2
    return {(lo, hi)} | nodes_of(lo, lo + left) | nodes_of(lo + left, hi)


@pytest.mark.parametrize(
    ("size", "left"), [(2, 1), (3, 2), (4, 2), (5, 4), (7, 4), (8, 4), (9, 8), (16, 8), (17, 16)]
)
def test_the_left_child_is_the_largest_power_of_two_below_the_size(size: int, left: int) -> None:
    assert split(0, size) == left
    assert split(100, 100 + size) == 100 + left


def test_a_sum_has_the_shape_of_the_tree() -> None:
    names = {(i, i + 1): str(i) for i in range(7)}

    total = tree_sum(0, 7, names.get, lambda left, right: f"({left}+{right})")

    assert total == "(((0+1)+(2+3))+((4+5)+6))"


def test_a_branch_that_is_known_is_not_summed_again() -> None:
    known = {(0, 4): "left", (4, 5): "right"}

    assert tree_sum(0, 5, known.get, lambda left, right: f"{left}+{right}") == "left+right"


def test_a_branch_is_summed_by_itself_as_it_is_within_the_whole() -> None:
    names = {(i, i + 1): str(i) for i in range(7)}

    branch = tree_sum(4, 7, names.get, lambda left, right: f"({left}+{right})")

    assert branch == "((4+5)+6)"


def test_a_sum_of_zero_is_known_too() -> None:
    known = {(0, 2): 0.0}

    assert tree_sum(0, 2, known.get, lambda left, right: left + right) == 0.0


@given(st.data(), shard_counts, branch_counts)
def test_the_tree_gives_the_same_bits_however_it_is_cut(
    data: st.DataObject, num_shards: int, count: int
) -> None:
    numbers = data.draw(st.lists(st.floats(-1e16, 1e16), min_size=num_shards, max_size=num_shards))
    leaves = {(i, i + 1): number for i, number in enumerate(numbers)}
    whole = tree_sum(0, num_shards, leaves.get, float.__add__)

    branches = {
        (lo, hi): tree_sum(lo, hi, leaves.get, float.__add__)
        for lo, hi in cut_branches(num_shards, count)
    }
    finished = tree_sum(0, num_shards, branches.get, float.__add__)

    assert finished.hex() == whole.hex()


@given(shard_counts, branch_counts)
def test_a_cut_covers_every_shard_once_and_in_order(num_shards: int, count: int) -> None:
    covered = [shard for lo, hi in cut_branches(num_shards, count) for shard in range(lo, hi)]

    assert covered == list(range(num_shards))


@given(shard_counts, branch_counts)
def test_every_branch_of_a_cut_is_a_node_of_the_tree(num_shards: int, count: int) -> None:
    assert set(cut_branches(num_shards, count)) <= nodes_of(0, num_shards)


@given(shard_counts, branch_counts)
def test_a_cut_has_as_many_branches_as_asked_for_while_there_are_shards(
    num_shards: int, count: int
) -> None:
    assert len(cut_branches(num_shards, count)) == min(count, num_shards)


def test_the_largest_branch_is_cut_first() -> None:
    assert cut_branches(8, 4) == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert cut_branches(7, 3) == [(0, 2), (2, 4), (4, 7)]


def test_a_cut_into_one_is_the_whole_tree() -> None:
    assert cut_branches(5, 1) == [(0, 5)]
