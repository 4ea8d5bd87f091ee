"""Whether workers agree: a gradient is a pure function, so two answers must be the same bits.

A fraction of the branches is audited: they count when two workers have given the same bits. Copies
that come for nothing, hedged ones and late ones, are compared with what was counted, until the next
step has ended. Where two answers differ, the coordinator computes the branch itself; whoever
answered otherwise is a liar, whatever the reason. A worker that lies seldom, on k branches, is not
found with probability (1 - fraction)^k.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from coordinator.leases import BranchSum
from engine.tree import Branch

STEPS_KEPT = 2  # the open step, and the one before it
OURS = "the coordinator"  # in the place of a worker's name


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker gave for a branch."""

    name: str
    total: BranchSum

    def agrees_with(self, other: BranchSum) -> bool:
        """Compare bits: 0.0 and -0.0 are not the same."""
        is_same_loss = self.total.loss.hex() == other.loss.hex()
        return is_same_loss and self.total.grad.tobytes() == other.grad.tobytes()


@dataclass(frozen=True, slots=True)
class Dispute:
    """Answers that differ, until the coordinator has computed the branch itself.

    A single answer is disputed where there is nobody else to ask.
    """

    id: int
    step: int
    branch: Branch
    answers: tuple[Answer, ...]


class Verdict(Enum):
    COUNT = auto()  # it may fill the slot
    KEEP = auto()  # another worker's answer is awaited
    REPEAT = auto()  # this worker has answered before
    DISPUTE = auto()  # it differs from another's


class Audits:
    """The answers of the last two steps, and what has come of comparing them.

    Attributes:
        contributors: worker -> the first step, counted from 0, that its answer was counted in.
        disputes: those that are not settled, by their ids.
        count: audited branches so far.
    """

    def __init__(
        self, fraction: float, rng: random.Random, contributors: Mapping[str, int]
    ) -> None:
        """Begin.

        Args:
            fraction: of branches that are audited.
            rng: chooses them.
            contributors: what is known of the steps before.
        """
        self._fraction = fraction
        self._rng = rng
        self._kept: dict[Branch, Answer] = {}  # audited branches of the open step, half answered
        self._audited: dict[Branch, bool] = {}  # of the open step, as far as drawn
        self._counted: dict[int, dict[Branch, Answer]] = {}  # step -> branch -> what counted
        self._next_dispute = 1
        self.contributors = dict(contributors)
        self.disputes: dict[int, Dispute] = {}
        self.count = 0

    def is_audited(self, branch: Branch) -> bool:
        """Say whether a branch is audited; drawn when it is first leased, or answered unasked."""
        if branch not in self._audited:
            self._audited[branch] = self._fraction > 0.0 and self._rng.random() < self._fraction
            self.count += self._audited[branch]
        return self._audited[branch]

    def kept(self, branch: Branch) -> Answer | None:
        """Give the answer to an audited branch that waits for another."""
        return self._kept.get(branch)

    def answered_by(self, name: str) -> list[Branch]:
        """Give the audited branches that this worker has answered, and another should."""
        return [branch for branch, answer in self._kept.items() if answer.name == name]

    def weigh(self, branch: Branch, answer: Answer) -> Verdict:
        """Say what becomes of an answer that could fill its slot."""
        first = self._kept.get(branch)
        if not self.is_audited(branch):
            return Verdict.COUNT
        if first is None:
            self._kept[branch] = answer
            return Verdict.KEEP
        if first.name == answer.name:
            return Verdict.REPEAT
        return Verdict.COUNT if answer.agrees_with(first.total) else Verdict.DISPUTE

    def note_counted(self, step: int, branch: Branch, answer: Answer) -> None:
        """Remember whose answer filled a slot; if it was audited, both have contributed."""
        first = self._kept.pop(branch, answer)
        self._counted.setdefault(step, {})[branch] = answer
        for name in (first.name, answer.name):
            self.contributors.setdefault(name, step)

    def note_settled(self, step: int, branch: Branch, truth: BranchSum) -> None:
        """Remember that the coordinator's own sum filled a slot: nobody else has contributed."""
        self._kept.pop(branch, None)
        self._counted.setdefault(step, {})[branch] = Answer(OURS, truth)

    def contradicted(self, step: int, branch: Branch, answer: Answer) -> Answer | None:
        """Give the counted answer that a late copy differs from, if it does."""
        counted = self._counted.get(step, {}).get(branch)
        return None if counted is None or answer.agrees_with(counted.total) else counted

    def dispute(self, step: int, branch: Branch, *answers: Answer) -> Dispute:
        """Open a dispute; the coordinator is to compute the branch itself."""
        dispute = Dispute(self._next_dispute, step, branch, answers)
        self._next_dispute += 1
        self.disputes[dispute.id] = dispute
        self._kept.pop(branch, None)
        return dispute

    def settle(self, dispute_id: int, truth: BranchSum) -> tuple[Dispute | None, list[str]]:
        """End a dispute; give it, unless it is forgotten, and who has lied."""
        dispute = self.disputes.pop(dispute_id, None)
        if dispute is None:
            return None, []
        liars = [answer.name for answer in dispute.answers if not answer.agrees_with(truth)]
        return dispute, list(dict.fromkeys(liars))

    def is_disputed(self, step: int, branch: Branch) -> bool:
        return any((d.step, d.branch) == (step, branch) for d in self.disputes.values())

    def open_step(self, step: int) -> None:
        """Begin with a step, and forget the one before the last."""
        self._kept.clear()
        self._audited.clear()
        self._counted.pop(step - STEPS_KEPT, None)

    def go_back(self, step: int) -> None:
        """Forget all that was answered from a step on."""
        self._counted = {s: answers for s, answers in self._counted.items() if s < step}
        self.disputes = {i: dispute for i, dispute in self.disputes.items() if dispute.step < step}
        self.contributors = {n: first for n, first in self.contributors.items() if first < step}
        self.open_step(step)
