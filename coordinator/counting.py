"""What becomes of an answer: it fills its slot, waits for another's, or is disputed."""

from collections.abc import Sequence

from coordinator.assignments import Assignments
from coordinator.audits import OURS, Answer, Audits, Dispute, Verdict
from coordinator.effects import Effect
from coordinator.leases import BranchSum
from coordinator.training import Point, Training, is_of
from engine.tree import Branch
from wire.messages import Grad


class Counting:
    """Fills the slots of the open step."""

    def __init__(
        self, training: Training, audits: Audits, assignments: Assignments, compares: bool
    ) -> None:
        """Begin.

        Args:
            compares: late copies are compared; all workers have the same arithmetic.
        """
        self._training = training
        self._audits = audits
        self._assignments = assignments
        self._compares = compares

    def weigh(self, name: str, grad: Grad) -> list[Effect]:
        """Count an answer that may fill its slot, unless another worker must be heard first."""
        training, audits, branch = self._training, self._audits, (grad.lo, grad.hi)
        if audits.is_disputed(training.step, branch):
            return []
        answer = Answer(name, training.branch_sum(grad))
        first = audits.kept(branch)
        match audits.weigh(branch, answer):
            case Verdict.COUNT:
                audits.note_counted(training.step, branch, answer)
                return self._assignments.count(branch, answer.total, name)
            case Verdict.KEEP:
                training.board.want(branch, 1)
            case Verdict.DISPUTE:
                assert first is not None
                training.board.want(branch, 0)
                return self._dispute(training.point, branch, [first, answer])
            case Verdict.REPEAT:
                pass
        return []

    def compare(self, name: str, grad: Grad) -> list[Effect]:
        """Compare an answer that came too late with the one that was counted.

        What is not a number is left out: in time it would have been asked again, without blame.
        """
        training, branch = self._training, (grad.lo, grad.hi)
        points = [point for point in (training.point, training.previous) if point is not None]
        point = next((point for point in points if is_of(point, grad)), None)
        if point is None or not self._compares:  # only now is its length known to be right
            return []
        answer = Answer(name, training.branch_sum(grad))
        counted = self._audits.contradicted(point.step, branch, answer)
        is_disputed = self._audits.is_disputed(point.step, branch)
        if counted is None or is_disputed or not answer.total.is_finite:
            return []
        return self._dispute(point, branch, [counted, answer])

    def doubt(self, branch: Branch) -> list[Effect]:
        """Have the coordinator see for itself whether a branch's gradient is no number."""
        training, kept = self._training, self._audits.kept(branch)
        if self._audits.is_disputed(training.step, branch):
            return []
        training.board.want(branch, 0)
        return self._dispute(training.point, branch, [] if kept is None else [kept])

    def settle(self, dispute: Dispute, truth: BranchSum) -> list[Effect]:
        """Fill the slot of a disputed branch, if it is still open, with the truth."""
        training, branch = self._training, dispute.branch
        if dispute.step != training.step or training.board.is_summed(branch):
            return []
        self._audits.note_settled(dispute.step, branch, truth)
        return self._assignments.count(branch, truth, OURS)

    def _dispute(self, point: Point, branch: Branch, answers: Sequence[Answer]) -> list[Effect]:
        dispute = self._audits.dispute(point.step, branch, *answers)
        return [self._assignments.recompute(dispute, point)]
