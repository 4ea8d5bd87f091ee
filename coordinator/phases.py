"""From the first step of a generation to its last word: when it saves, and how it leaves.

A generation goes through three phases, and only through them:

    TRAINING    a step is open        -> LEAVING   when the last step is committed and undisputed,
                                                   when somebody asks, or when it cannot go on
    LEAVING     the last save is due  -> LEFT      when it is durable, has failed, or is not needed
    LEFT        BYE and Finish are out; every further event is ignored
"""

from enum import Enum, auto

from coordinator import facts
from coordinator.audits import Audits
from coordinator.effects import Effect, Finish, Save, Tell
from coordinator.evaluations import Evaluations
from coordinator.members import Members
from coordinator.outbox import Outbox
from coordinator.saves import Saves
from coordinator.training import Training
from wire.messages import DONE, STOPPING


class Phase(Enum):
    TRAINING = auto()
    LEAVING = auto()
    LEFT = auto()


class Phases:
    """The phase of one generation, and its saves.

    Attributes:
        phase: where it stands.
    """

    def __init__(
        self,
        training: Training,
        members: Members,
        audits: Audits,
        out: Outbox,
        saves: Saves,
        evaluations: Evaluations,
    ) -> None:
        self._training = training
        self._members = members
        self._audits = audits
        self._out = out
        self._saves = saves
        self._evaluations = evaluations
        self._reason = STOPPING
        self._failure: str | None = None
        self._saves_last = True
        self.phase = Phase.TRAINING

    @property
    def is_training(self) -> bool:
        return self.phase is Phase.TRAINING

    @property
    def durable_step(self) -> int:
        return self._saves.durable_step

    def check(self) -> None:
        """Assert what must hold between any two events."""
        assert self._saves.durable_step <= self._training.step
        self._evaluations.check(self._saves.pending_step)

    def start(self, now: float) -> list[Effect]:
        """Make the step that the generation begins at durable, and its evaluation known."""
        training = self._training
        self._saves.start(now)
        if self._saves.durable_step < training.step:
            effects = self._save()
        else:
            effects = self._evaluations.start(training.step, training.params)
        return effects + (self.leave(DONE, None) if training.is_finished else [])

    def go_on(self, now: float) -> list[Effect]:
        """Save what is due after a commit; leave if it was the last.

        While an answer is disputed, a commit that may have to be undone is neither saved nor last.
        """
        training = self._training
        if self._audits.disputes:
            return []
        if training.is_finished:
            return self.leave(DONE, None)
        return self._save() if self._saves.is_due(training.step, now) else []

    def go_back(self, durable_step: int) -> list[Effect]:
        """Stand where training has gone back to; what was to be saved is not any more."""
        self._evaluations.forget()
        self._saves.go_back(durable_step)
        return self._save() if durable_step < self._training.step else []

    def leave(self, reason: str, failure: str | None, saves_last: bool = True) -> list[Effect]:
        """Begin to leave.

        Args:
            failure: one line for a person; None if all is well.
            saves_last: the last committed step is worth a save.
        """
        if self.is_training:
            self.phase = Phase.LEAVING
            self._reason, self._failure = reason, failure
            # A step that a disputed answer is in may be wrong: it is computed again.
            self._saves_last = saves_last and not self._audits.disputes
            if not self._saves_last:
                self._withhold()
        return self._leave_if_saved()

    def hurry(self, now: float) -> list[Effect]:
        """Leave, because somebody asks for it, again and again until it is done."""
        self._withhold_if_disputed()
        return self._evaluations.hurry(now) + self.leave(STOPPING, None)

    def on_evaluated(self, step: int, held_out_loss: float) -> list[Effect]:
        self._withhold_if_disputed()
        return self._evaluations.end(step, held_out_loss) + self._leave_if_saved()

    def on_saved(self, step: int, now: float) -> list[Effect]:
        self._saves.succeed(step, now)
        return [Tell(facts.CheckpointDurable(step)), *self._leave_if_saved()]

    def on_save_failed(self, step: int, reason: str, now: float) -> list[Effect]:
        self._saves.fail(step, now)
        if self.phase is Phase.LEAVING:
            self._saves_last = False
            if self._failure is None:
                self._failure = f"{reason}; {self._saves.newest}: make room and go on with --resume"
        return [Tell(facts.CheckpointFailed(step, reason)), *self._leave_if_saved()]

    def _withhold_if_disputed(self) -> None:
        if self._audits.disputes:
            self._withhold()

    def _withhold(self) -> None:
        """Do not save the step that waits for its evaluation; it may have to be undone."""
        if self._evaluations.drop_save():
            self._saves.give_up()

    def _save(self) -> list[Effect]:
        training = self._training
        self._saves.begin(training.step)
        contributors = dict(self._audits.contributors)
        save = Save(training.step, training.params, training.moments, training.loss, contributors)
        return self._evaluations.save(save)

    def _leave_if_saved(self) -> list[Effect]:
        is_busy = self._saves.pending_step is not None or self._evaluations.is_running
        if self.phase is not Phase.LEAVING or is_busy:
            return []
        if self._saves.durable_step < self._training.step and self._saves_last:
            return self._save()
        self.phase = Phase.LEFT
        durable_step = self._saves.durable_step
        byes = [self._out.bye(member, self._reason, durable_step) for member in self._members]
        return [*byes, Finish(self._failure)]
