"""The board of one step: every branch waits, is leased, or is summed."""

import numpy as np
import pytest

from coordinator.leases import Board, BranchSum, Lease

pytestmark = pytest.mark.unit

BRANCHES = [(0, 2), (2, 4), (4, 5)]


def one(value: float) -> BranchSum:
    return BranchSum(value, np.array([value, -value]))


def test_branches_are_leased_in_shard_order() -> None:
    board = Board(BRANCHES)

    leases = [board.lease(i, b"a", []) for i in range(1, 5)]

    assert leases == [*(Lease(i, b, b"a") for i, b in enumerate(BRANCHES, start=1)), None]


def test_a_branch_to_be_avoided_is_left_for_others() -> None:
    board = Board(BRANCHES)

    assert board.lease(1, b"a", [(0, 2), (2, 4)]) == Lease(1, (4, 5), b"a")
    assert board.lease(2, b"a", [(0, 2), (2, 4)]) is None
    assert board.lease(3, b"b", []) == Lease(3, (0, 2), b"b")


def test_a_released_branch_is_first_in_line() -> None:
    board = Board(BRANCHES)
    board.lease(1, b"a", [])
    board.lease(2, b"a", [])

    assert board.release(2)

    assert board.lease(3, b"b", []) == Lease(3, (2, 4), b"b")


def test_a_lease_can_be_released_once() -> None:
    board = Board(BRANCHES)
    board.lease(1, b"a", [])

    assert [board.release(1), board.release(1), board.release(99)] == [True, False, False]


def test_releasing_a_summed_branch_frees_nothing() -> None:
    board = Board(BRANCHES)
    board.lease(1, b"a", [])
    board.count((0, 2), one(1.0))

    assert not board.release(1)
    assert board.lease(2, b"b", []) == Lease(2, (2, 4), b"b")


def test_counting_gives_the_leases_that_are_no_longer_wanted() -> None:
    board = Board(BRANCHES)
    board.lease(1, b"a", [])
    board.lease(2, b"b", [])

    assert board.count((2, 4), one(1.0)) == [Lease(2, (2, 4), b"b")]


def test_a_branch_that_waits_can_be_counted_and_is_not_leased_any_more() -> None:
    board = Board(BRANCHES)

    assert board.count((0, 2), one(1.0)) == []

    assert board.lease(1, b"a", []) == Lease(1, (2, 4), b"a")
    board.check()


def test_a_branch_is_counted_once() -> None:
    board = Board(BRANCHES)
    board.count((0, 2), one(1.0))

    with pytest.raises(AssertionError):
        board.count((0, 2), one(1.0))


def test_a_branch_of_another_cut_is_not_held() -> None:
    board = Board(BRANCHES)

    assert board.holds((0, 2))
    assert not board.holds((0, 1))
    assert not board.holds((0, 5))


def test_a_board_is_untouched_until_something_is_leased_or_summed() -> None:
    leased, summed = Board(BRANCHES), Board(BRANCHES)
    assert leased.is_untouched

    leased.lease(1, b"a", [])
    summed.count((0, 2), one(1.0))

    assert not leased.is_untouched
    assert not summed.is_untouched


def test_a_board_that_was_leased_from_stays_touched() -> None:
    """Its branches must not be cut anew: an answer to a lost lease would fit none of them."""
    board = Board(BRANCHES)
    board.lease(1, b"a", [])

    board.release(1)

    assert not board.is_untouched


def test_the_total_takes_the_tree_whatever_the_order_of_arrival() -> None:
    values = {(0, 2): 1e16, (2, 4): 1.0, (4, 5): -1e16}
    board = Board(BRANCHES)

    for branch in [(4, 5), (0, 2), (2, 4)]:
        board.count(branch, one(values[branch]))

    assert board.is_complete
    assert board.total(5).loss == (1e16 + 1.0) + -1e16
    assert board.total(5).grad.tolist() == [(1e16 + 1.0) - 1e16, (-1e16 - 1.0) + 1e16]


def test_a_board_is_complete_when_the_last_branch_is_in() -> None:
    board = Board(BRANCHES)

    states = []
    for branch in BRANCHES:
        states.append(board.is_complete)
        board.count(branch, one(1.0))

    assert [*states, board.is_complete] == [False, False, False, True]
