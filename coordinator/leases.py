"""The branches of one step: which wait, which are leased, which are summed.

A branch is counted once: its first valid sum fills the slot, whoever computed it and whatever has
become of the lease. A lease only says who is computing, so that a lost worker's branch is given to
another.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coordinator.events import Peer
from engine.tree import Branch, tree_sum


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's turn at one branch. Ids are never used twice in a generation."""

    id: int
    branch: Branch
    peer: Peer


@dataclass(frozen=True, slots=True)
class BranchSum:
    """The sums over a branch's documents: loss in nats, gradient (num_params,)."""

    loss: float
    grad: npt.NDArray[np.float64]

    def plus(self, other: "BranchSum") -> "BranchSum":
        return BranchSum(self.loss + other.loss, self.grad + other.grad)


class Board:
    """The state of one step's branches."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = tuple(branches)
        self._waiting = deque(branches)
        self._leases: dict[int, Lease] = {}
        self._sums: dict[Branch, BranchSum] = {}
        self.is_untouched = True  # nothing has been leased or summed yet

    @property
    def is_complete(self) -> bool:
        return len(self._sums) == len(self._branches)

    def holds(self, branch: Branch) -> bool:
        return branch in self._branches

    def is_summed(self, branch: Branch) -> bool:
        return branch in self._sums

    def lease(self, lease_id: int, peer: Peer, avoid: Sequence[Branch]) -> Lease | None:
        """Lease the first waiting branch that is not to be avoided; None if there is none."""
        branch = next((b for b in self._waiting if b not in avoid), None)
        if branch is None:
            return None
        self._waiting.remove(branch)
        self.is_untouched = False
        self._leases[lease_id] = Lease(lease_id, branch, peer)
        return self._leases[lease_id]

    def release(self, lease_id: int) -> bool:
        """End a lease; its branch waits again, first in line, unless it is summed.

        Returns:
            Whether a branch was freed.
        """
        lease = self._leases.pop(lease_id, None)
        if lease is None or lease.branch in self._sums:
            return False
        if lease.branch not in self._waiting:
            self._waiting.appendleft(lease.branch)
        return True

    def count(self, branch: Branch, branch_sum: BranchSum) -> list[Lease]:
        """Fill the slot of a branch.

        Returns:
            Leases of that branch that are still held: their answers are no longer wanted.
        """
        assert branch in self._branches
        assert branch not in self._sums
        self._sums[branch] = branch_sum
        self.is_untouched = False
        if branch in self._waiting:
            self._waiting.remove(branch)
        return [lease for lease in self._leases.values() if lease.branch == branch]

    def total(self, num_shards: int) -> BranchSum:
        """Finish the tree over the whole step."""
        assert self.is_complete
        return tree_sum(0, num_shards, self._sums.get, BranchSum.plus)

    def check(self) -> None:
        """Assert that every branch waits, is leased or is summed."""
        leased = {lease.branch for lease in self._leases.values()}
        for branch in self._branches:
            places = [branch in self._waiting, branch in leased, branch in self._sums]
            assert any(places), f"branch {branch} is lost"
            assert not (places[0] and places[2]), f"branch {branch} waits though it is summed"
            assert not (places[0] and places[1]), f"branch {branch} waits though it is leased"
