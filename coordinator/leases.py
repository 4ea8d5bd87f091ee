"""The branches of one step: which wait, which are leased, which are summed.

A branch is counted once: its first valid sum fills the slot, whoever computed it and whatever has
become of the lease. A lease only says who is computing, so that a lost worker's branch is given to
another. A branch wants one answer; one that is audited wants two, and a straggler's is hedged with
a second lease.
"""

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.status import BranchCounts
from engine.tree import Branch, tree_sum

WAITING, LEASED, SUMMED = "waiting", "leased", "summed"
COPIES_MAX = 2  # of a branch that are out at the same time


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's turn at one branch. Ids are never used twice in a generation.

    Attributes:
        holder: the worker's name.
        since_s: when it was given.
    """

    id: int
    branch: Branch
    holder: str
    since_s: float


@dataclass(frozen=True, slots=True)
class BranchSum:
    """The sums over a branch's documents: loss in nats, gradient (num_params,)."""

    loss: float
    grad: npt.NDArray[np.float64]

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.loss) and np.isfinite(self.grad).all())

    def plus(self, other: "BranchSum") -> "BranchSum":
        return BranchSum(self.loss + other.loss, self.grad + other.grad)


class Board:
    """The state of one step's branches."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = tuple(branches)
        self._waiting = deque(branches)
        self._wanted = dict.fromkeys(branches, 1)
        self._leases: dict[int, Lease] = {}
        self._leases_of: dict[Branch, list[Lease]] = {branch: [] for branch in branches}
        self._began_s: dict[Branch, float] = {}  # when a branch was first leased
        self._sums: dict[Branch, BranchSum] = {}
        self._summed_by: dict[Branch, str] = {}
        self.is_untouched = True  # nothing has been leased or summed yet

    @property
    def is_complete(self) -> bool:
        return len(self._sums) == len(self._branches)

    @property
    def counts(self) -> BranchCounts:
        """For people; one that wants no answer is the coordinator's own, and counted as leased."""
        total, summed, waiting = len(self._branches), len(self._sums), len(self._waiting)
        return BranchCounts(total, summed, total - summed - waiting, waiting)

    @property
    def standings(self) -> list[tuple[Branch, str, list[str]]]:
        """Say of each branch, in shard order, how it stands, and who computes it, or has."""
        return [
            (branch, self._state_of(branch), self._workers_of(branch)) for branch in self._branches
        ]

    def _workers_of(self, branch: Branch) -> list[str]:
        if branch in self._sums:
            return [self._summed_by[branch]]
        return [lease.holder for lease in self._leases_of[branch]]

    def _state_of(self, branch: Branch) -> str:
        if branch in self._sums:
            return SUMMED
        return WAITING if branch in self._waiting else LEASED

    @property
    def is_waiting(self) -> bool:
        """Some branch is nobody's yet."""
        return bool(self._waiting)

    @property
    def waiting(self) -> Sequence[Branch]:
        return tuple(self._waiting)

    def holds(self, branch: Branch) -> bool:
        return branch in self._wanted

    def is_summed(self, branch: Branch) -> bool:
        return branch in self._sums

    def lease_of(self, lease_id: int) -> Lease | None:
        return self._leases.get(lease_id)

    def lease(
        self, lease_id: int, holder: str, now: float, avoid: Container[Branch]
    ) -> Lease | None:
        """Lease the first waiting branch that is not to be avoided; None if there is none."""
        branch = next(
            (b for b in self._waiting if b not in avoid and not self._is_held_by(holder, b)), None
        )
        return None if branch is None else self._lease(lease_id, branch, holder, now)

    def hedge(
        self, lease_id: int, holder: str, now: float, late_s: float, avoid: Container[Branch]
    ) -> Lease | None:
        """Lease a copy of a branch that was first leased longer than late_s ago, oldest first."""
        if self._waiting:
            return None
        for lease in self._leases.values():  # oldest first: that is how they were added
            is_late = now - self._began_s[lease.branch] > late_s
            is_wanted = lease.branch not in self._sums and self._wanted[lease.branch] > 0
            can_be_hedged = is_wanted and len(self._leases_of[lease.branch]) == 1
            is_mine = lease.holder == holder or lease.branch in avoid
            if is_late and can_be_hedged and not is_mine:
                return self._lease(lease_id, lease.branch, holder, now)
        return None

    def release(self, lease_id: int) -> bool:
        """End a lease; its branch waits again, first in line, unless enough others have it.

        Returns:
            Whether a branch was freed.
        """
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._leases_of[lease.branch].remove(lease)
        if lease is None or not self._lacks(lease.branch) or lease.branch in self._waiting:
            return False
        self._waiting.appendleft(lease.branch)
        return True

    def want(self, branch: Branch, answers: int) -> None:
        """Change how many more answers a branch wants; with 0 it is nobody's to compute."""
        assert branch not in self._sums
        self._wanted[branch] = answers
        if branch in self._waiting:
            self._waiting.remove(branch)
        if self._lacks(branch):
            self._waiting.append(branch)

    def count(self, branch: Branch, branch_sum: BranchSum, by: str) -> list[Lease]:
        """Fill the slot of a branch.

        Args:
            by: whose sum it is, for people.

        Returns:
            Leases of that branch that are still held: their answers are no longer wanted.
        """
        assert branch in self._wanted
        assert branch not in self._sums
        self._sums[branch] = branch_sum
        self._summed_by[branch] = by
        self.is_untouched = False
        if branch in self._waiting:
            self._waiting.remove(branch)
        return self.leases_of(branch)

    def leases_of(self, branch: Branch) -> list[Lease]:
        return list(self._leases_of[branch])

    def branches_of(self, leases: Sequence[int]) -> list[Branch]:
        return [self._leases[lease].branch for lease in leases]

    def total(self, num_shards: int) -> BranchSum:
        """Finish the tree over the whole step."""
        assert self.is_complete
        return tree_sum(0, num_shards, self._sums.get, BranchSum.plus)

    def check(self) -> None:
        """Assert that every branch waits, is leased, is summed, or wants no answer."""
        for branch in self._branches:
            is_waiting, is_summed = branch in self._waiting, branch in self._sums
            copies = len(self.leases_of(branch))
            assert copies <= COPIES_MAX, f"branch {branch} is out {copies} times"
            assert not (is_waiting and is_summed), f"branch {branch} waits though it is summed"
            if not is_summed:
                lacks = copies < self._wanted[branch]
                assert is_waiting == lacks, f"branch {branch} is lost, or waits without need"

    def _lease(self, lease_id: int, branch: Branch, holder: str, now: float) -> Lease:
        self.is_untouched = False
        self._leases[lease_id] = Lease(lease_id, branch, holder, now)
        self._leases_of[branch].append(self._leases[lease_id])
        self._began_s.setdefault(branch, now)
        if not self._lacks(branch) and branch in self._waiting:
            self._waiting.remove(branch)
        return self._leases[lease_id]

    def _lacks(self, branch: Branch) -> bool:
        copies = len(self._leases_of[branch])
        return branch not in self._sums and copies < self._wanted[branch]

    def _is_held_by(self, holder: str, branch: Branch) -> bool:
        return any(lease.holder == holder for lease in self._leases_of[branch])
