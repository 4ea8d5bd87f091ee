"""From the first step of a generation to its last word: when it saves, and how it leaves.

A generation goes through three phases, and only through them:

    TRAINING    a step is open, or    -> LEAVING   when the last step is committed and undisputed,
                the run goes back                  when somebody asks, or when it cannot go on
    LEAVING     the last save is due  -> LEFT      when it is durable, has failed, is not needed, or
                                                   takes longer than a stop may wait
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

LAST_SAVE_S = 8.0  # that a stop waits for the disk; a service manager gives it 10


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
        self._hurried_s: float | None = None  # since when it should not wait for the disk any more
        self._is_going_back = False
        self.phase = Phase.TRAINING
        self.fingerprint = ""

    @property
    def is_training(self) -> bool:
        """Steps are committed."""
        return self.phase is Phase.TRAINING and not self._is_going_back

    @property
    def is_open(self) -> bool:
        """Members are listened to."""
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

    def tick(self, now: float) -> list[Effect]:
        """Notice a disk that does not answer."""
        effects: list[Effect] = []
        if stuck := self._saves.stuck(now):
            effects = [Tell(facts.SaveStuck(*stuck, self._saves.unsaved(self._training.step)))]
        return effects + self._leave_if_at_risk(now) + self._leave_if_late(now)

    def give_up(self) -> None:
        """Believe no evaluation that is under way, and no answer to a save."""
        self._evaluations.forget()
        self._saves.give_up()

    def begin_going_back(self) -> None:
        """Commit nothing, and call nothing durable, until training stands somewhere else."""
        self._evaluations.forget()
        self._saves.go_back(-1)
        self._is_going_back = True

    def go_back(self, durable_step: int, now: float) -> list[Effect]:
        """Stand where training has gone back to; what was to be saved is not any more."""
        self._is_going_back = False
        self._evaluations.forget()
        self._saves.go_back(durable_step)
        if not self.is_open:
            return self._leave_if_saved(now)
        return self._save(now) if durable_step < self._training.step else []

    def on_go_back_failed(self, reason: str, now: float) -> list[Effect]:
        """Leave what may be wrong as it is: nobody may train on it."""
        self._is_going_back, self._saves_last = False, False
        self._failure = self._failure or reason
        return self.leave(STOPPING, self._failure, now, saves_last=False)

    def leave(
        self, reason: str, failure: str | None, now: float, saves_last: bool = True
    ) -> list[Effect]:
        """Begin to leave.

        Args:
            failure: one line for a person; None if all is well.
            saves_last: the last committed step is worth a save.
        """
        if self.is_open:
            self.phase = Phase.LEAVING
            self._reason, self._failure = reason, failure
            # A step that a disputed answer is in may be wrong: it is computed again.
            self._saves_last = saves_last and not self._audits.disputes
            if not self._saves_last:
                self._withhold()
        return self._leave_if_saved(now)

    def hurry(self, now: float) -> list[Effect]:
        """Leave, because somebody asks for it, again and again until it is done."""
        self._hurried_s = now if self._hurried_s is None else self._hurried_s
        self._withhold_if_disputed()
        effects = self._evaluations.hurry(now) + self.leave(STOPPING, None, now)
        return effects + self._leave_if_late(now)

    def on_evaluated(self, step: int, held_out_loss: float, now: float) -> list[Effect]:
        self._withhold_if_disputed()
        return self._evaluations.end(step, held_out_loss) + self._leave_if_saved(now)

    def on_saved(self, step: int, seconds: float, now: float) -> list[Effect]:
        if self._is_going_back:  # it is revoked
            return []
        told = Tell(facts.CheckpointDurable(step, seconds, self._saves.failures))
        self._saves.succeed(step, now)
        return [told, *self._leave_if_saved(now)]

    def on_save_failed(self, step: int, reason: str, now: float) -> list[Effect]:
        if self._is_going_back:
            return []
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
        self._hurried_s = now
        return self.leave(STOPPING, None, now)

    def _leave_if_late(self, now: float) -> list[Effect]:
        """Wait for a disk that does not answer no longer than a stop may take."""
        is_late = self._hurried_s is not None and now - self._hurried_s >= LAST_SAVE_S
        if self.phase is not Phase.LEAVING or not is_late:
            return []
        step = self._saves.pending_step
        what = f"step {step} to be saved" if step is not None else "to have gone back"
        expected = f"expected {what} within {LAST_SAVE_S:g} s, got no answer"
        self._disk_failure = self._disk_failure or expected
        return self._left()

    def _leave_if_saved(self, now: float) -> list[Effect]:
        is_saving = self._saves.pending_step is not None or self._is_going_back
        is_busy = is_saving or self._evaluations.is_running
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
