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

    leases = [board.lease(i, "a", 0.0, []) for i in range(1, 5)]

    assert leases == [*(Lease(i, b, "a", 0.0) for i, b in enumerate(BRANCHES, start=1)), None]


def test_a_branch_to_be_avoided_is_left_for_others() -> None:
    board = Board(BRANCHES)

    assert board.lease(1, "a", 0.0, [(0, 2), (2, 4)]) == Lease(1, (4, 5), "a", 0.0)
    assert board.lease(2, "a", 0.0, [(0, 2), (2, 4)]) is None
    assert board.lease(3, "b", 0.0, []) == Lease(3, (0, 2), "b", 0.0)


def test_a_released_branch_is_first_in_line() -> None:
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])
    board.lease(2, "a", 0.0, [])

    assert board.release(2)

    assert board.lease(3, "b", 0.0, []) == Lease(3, (2, 4), "b", 0.0)


def test_a_lease_can_be_released_once() -> None:
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])

    assert [board.release(1), board.release(1), board.release(99)] == [True, False, False]


def test_releasing_a_summed_branch_frees_nothing() -> None:
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])
    board.count((0, 2), one(1.0), "a")

    assert not board.release(1)
    assert board.lease(2, "b", 0.0, []) == Lease(2, (2, 4), "b", 0.0)


def test_counting_gives_the_leases_that_are_no_longer_wanted() -> None:
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])
    board.lease(2, "b", 0.0, [])

    assert board.count((2, 4), one(1.0), "a") == [Lease(2, (2, 4), "b", 0.0)]


def test_a_branch_that_waits_can_be_counted_and_is_not_leased_any_more() -> None:
    board = Board(BRANCHES)

    assert board.count((0, 2), one(1.0), "a") == []

    assert board.lease(1, "a", 0.0, []) == Lease(1, (2, 4), "a", 0.0)
    board.check()


def test_a_branch_is_counted_once() -> None:
    board = Board(BRANCHES)
    board.count((0, 2), one(1.0), "a")

    with pytest.raises(AssertionError):
        board.count((0, 2), one(1.0), "a")


def test_a_branch_of_another_cut_is_not_held() -> None:
    board = Board(BRANCHES)

    assert board.holds((0, 2))
    assert not board.holds((0, 1))
    assert not board.holds((0, 5))


def test_a_board_is_untouched_until_something_is_leased_or_summed() -> None:
    leased, summed = Board(BRANCHES), Board(BRANCHES)
    assert leased.is_untouched

    leased.lease(1, "a", 0.0, [])
    summed.count((0, 2), one(1.0), "a")

    assert not leased.is_untouched
    assert not summed.is_untouched


def test_a_board_that_was_leased_from_stays_touched() -> None:
    """Its branches must not be cut anew: an answer to a lost lease would fit none of them."""
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])

    board.release(1)

    assert not board.is_untouched


def test_the_total_takes_the_tree_whatever_the_order_of_arrival() -> None:
    values = {(0, 2): 1e16, (2, 4): 1.0, (4, 5): -1e16}
    board = Board(BRANCHES)

    for branch in [(4, 5), (0, 2), (2, 4)]:
        board.count(branch, one(values[branch]), "a")

    assert board.is_complete
    assert board.total(5).loss == (1e16 + 1.0) + -1e16
    assert board.total(5).grad.tolist() == [(1e16 + 1.0) - 1e16, (-1e16 - 1.0) + 1e16]


def test_a_board_is_complete_when_the_last_branch_is_in() -> None:
    board = Board(BRANCHES)

    states = []
    for branch in BRANCHES:
        states.append(board.is_complete)
        board.count(branch, one(1.0), "a")

    assert [*states, board.is_complete] == [False, False, False, True]


# ---- two answers, and copies --------------------------------------------------------------------


def test_an_audited_branch_waits_for_a_second_worker_behind_those_that_have_none() -> None:
    board = Board(BRANCHES)
    board.lease(1, "a", 0.0, [])
    board.want((0, 2), 2)
    board.check()

    assert board.waiting == ((2, 4), (4, 5), (0, 2))
    assert [board.lease(i, "a", 0.0, []).branch for i in (2, 3)] == [(2, 4), (4, 5)]
    assert board.lease(4, "a", 0.0, []) is None  # its own
    assert board.lease(5, "b", 0.0, []) == Lease(5, (0, 2), "b", 0.0)
    assert board.waiting == ()
    board.check()


def test_a_branch_that_wants_no_answer_neither_waits_nor_comes_back() -> None:
    """It is disputed: the coordinator computes it itself."""
    board = Board(BRANCHES[:1])
    board.lease(1, "a", 0.0, [])

    board.want((0, 2), 0)

    assert not board.release(1)
    assert board.waiting == ()
    assert not board.is_complete
    board.check()


def test_what_is_out_for_long_is_hedged_once_and_by_somebody_else() -> None:
    board = Board(BRANCHES[:2])
    board.lease(1, "a", 1.0, [])
    board.lease(2, "b", 2.0, [])

    assert board.hedge(3, "c", 2.5, 1.5, []) is None  # nothing is late
    assert board.hedge(3, "a", 3.0, 1.5, []) is None  # its own
    assert board.hedge(3, "c", 3.0, 1.5, [(0, 2)]) is None  # it had better not
    assert board.hedge(3, "c", 3.0, 1.5, []) == Lease(3, (0, 2), "c", 3.0)
    assert board.hedge(4, "d", 3.0, 1.5, []) is None  # twice is enough
    assert board.hedge(4, "d", 4.0, 1.5, []) == Lease(4, (2, 4), "d", 4.0)
    board.check()


def test_a_branch_that_wants_no_answer_is_not_hedged() -> None:
    """It is disputed; a copy would be computed for nothing, and then another, and another."""
    board = Board(BRANCHES[:1])
    board.lease(1, "a", 0.0, [])
    board.want((0, 2), 0)

    assert board.hedge(2, "b", 99.0, 1.0, []) is None


def test_nothing_is_hedged_while_a_branch_waits() -> None:
    board = Board(BRANCHES[:2])
    board.lease(1, "a", 0.0, [])

    assert board.hedge(2, "b", 99.0, 1.0, []) is None


@pytest.mark.parametrize("ended", [1, 2])
def test_a_branch_whose_copy_is_still_out_does_not_wait(ended: int) -> None:
    board = Board(BRANCHES[:1])
    board.lease(1, "a", 0.0, [])
    board.hedge(2, "b", 9.0, 1.0, [])

    assert not board.release(ended)
    assert board.waiting == ()
    assert board.release(3 - ended)
    assert board.waiting == ((0, 2),)
    board.check()


def test_a_summed_branch_is_not_hedged() -> None:
    board = Board(BRANCHES[:2])
    board.lease(1, "a", 0.0, [])
    board.lease(2, "b", 0.0, [])
    board.count((0, 2), one(1.0), "a")

    assert board.hedge(3, "c", 9.0, 1.0, []) == Lease(3, (2, 4), "c", 9.0)
