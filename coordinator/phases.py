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

LAST_SAVE_S = 8.0  # that who asks for a stop waits for the disk; a service manager gives it 10


class Phase(Enum):
    TRAINING = auto()
    LEAVING = auto()
    LEFT = auto()


class Phases:
    """The phase of one generation, and its saves.

    Attributes:
        phase: where it stands.
        fingerprint: of the coordinator's own arithmetic; empty until it is known.
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
        self._disk_failure = ""  # why the run ends with less on disk than it should
        self._saves_last = True
        self._asked_s: float | None = None
        self.phase = Phase.TRAINING
        self.fingerprint = ""

    @property
    def is_training(self) -> bool:
        return self.phase is Phase.TRAINING

    @property
    def durable_step(self) -> int:
        return self._saves.durable_step

    @property
    def saving_step(self) -> int | None:
        return self._saves.pending_step

    def save_trouble(self, now: float) -> str:
        """Say what keeps steps from becoming durable; empty if nothing does."""
        return self._saves.trouble(now)

    def check(self) -> None:
        """Assert what must hold between any two events."""
        assert self._saves.durable_step <= self._training.step
        self._evaluations.check(self._saves.pending_step)

    def start(self, now: float) -> list[Effect]:
        """Make the step that the generation begins at durable, and its evaluation known."""
        training = self._training
        self._saves.start(now)
        if self._saves.durable_step < training.step:
            effects = self._save(now)
        else:
            effects = self._evaluations.start(training.step, training.params)
        return effects + (self.leave(DONE, None, now) if training.is_finished else [])

    def go_on(self, now: float) -> list[Effect]:
        """Save what is due after a commit; leave if it was the last.

        While an answer is disputed, a commit that may have to be undone is neither saved nor last.
        """
        training = self._training
        if self._audits.disputes:
            return []
        if training.is_finished:
            return self.leave(DONE, None, now)
        effects = self._save(now) if self._saves.is_due(training.step, now) else []
        return effects + self._leave_if_at_risk(now)

    def give_up(self) -> None:
        """Believe no evaluation that is under way, and expect no answer to a save."""
        self._evaluations.forget()
        self._saves.give_up()

    def go_back(self, durable_step: int, now: float) -> list[Effect]:
        """Stand where training has gone back to; what was to be saved is not any more."""
        self._evaluations.forget()
        self._saves.go_back(durable_step)
        return self._save(now) if durable_step < self._training.step else []

    def leave(
        self, reason: str, failure: str | None, now: float, saves_last: bool = True
    ) -> list[Effect]:
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
        return self._leave_if_saved(now)

    def hurry(self, now: float) -> list[Effect]:
        """Leave, because somebody asks for it, again and again until it is done."""
        self._asked_s = now if self._asked_s is None else self._asked_s
        self._withhold_if_disputed()
        effects = self._evaluations.hurry(now) + self.leave(STOPPING, None, now)
        step = self._saves.pending_step
        if step is None or now - self._asked_s < LAST_SAVE_S:
            return effects
        self._disk_failure = (
            f"expected step {step} to be saved within {LAST_SAVE_S:g} s, got no answer"
        )
        return effects + self._left()

    def on_evaluated(self, step: int, held_out_loss: float, now: float) -> list[Effect]:
        self._withhold_if_disputed()
        return self._evaluations.end(step, held_out_loss) + self._leave_if_saved(now)

    def on_saved(self, step: int, seconds: float, now: float) -> list[Effect]:
        told = Tell(facts.CheckpointDurable(step, seconds, self._saves.failures))
        self._saves.succeed(step, now)
        return [told, *self._leave_if_saved(now)]

    def on_save_failed(self, step: int, reason: str, now: float) -> list[Effect]:
        self._saves.fail(step, reason, now)
        if self.phase is Phase.LEAVING:
            self._saves_last = False
            self._disk_failure = self._disk_failure or reason
        unsaved = self._saves.unsaved(self._training.step)
        told = Tell(facts.CheckpointFailed(step, reason, unsaved, self._saves.failures))
        return [told, *self._leave_if_at_risk(now), *self._leave_if_saved(now)]

    def _withhold_if_disputed(self) -> None:
        if self._audits.disputes:
            self._withhold()

    def _withhold(self) -> None:
        """Do not save the step that waits for its evaluation; it may have to be undone."""
        if self._evaluations.drop_save():
            self._saves.give_up()

    def _save(self, now: float) -> list[Effect]:
        training = self._training
        self._saves.begin(training.step, now)
        return self._evaluations.save(
            Save(
                step=training.step,
                params=training.params,
                moments=training.moments,
                loss=training.loss,
                contributors=dict(self._audits.contributors),
                fingerprint=self.fingerprint,
            )
        )

    def _leave_if_at_risk(self, now: float) -> list[Effect]:
        """Stop when saves have failed for so long that a crash would cost too much."""
        risk = self._saves.risk(self._training.step, now)
        if not self.is_training or not risk:
            return []
        self._disk_failure = risk
        return self.leave(STOPPING, None, now)

    def _leave_if_saved(self, now: float) -> list[Effect]:
        is_busy = self._saves.pending_step is not None or self._evaluations.is_running
        if self.phase is not Phase.LEAVING or is_busy:
            return []
        if self._saves.durable_step < self._training.step and self._saves_last:
            return self._save(now)
        return self._left()

    def _left(self) -> list[Effect]:
        self.phase = Phase.LEFT
        failure = self._failure
        if failure is None and self._disk_failure:
            remedy = "make room and go on with --resume"
            failure = f"{self._disk_failure}; {self._saves.newest}: {remedy}"
        durable_step = self._saves.durable_step
        byes = [self._out.bye(member, self._reason, durable_step) for member in self._members]
        return [*byes, Finish(failure)]
