"""What must hold of saves after every event of a coordinator, and of how it leaves over them.

Which step is durable is kept here a second time, from the answers to saves alone.
"""

from collections import Counter
from collections.abc import Sequence

from coordinator import events
from coordinator.effects import Effect, Finish, GoBack, Save, Send, Tell
from coordinator.facts import CheckpointDurable, HeldOutEvaluated, StepCommitted
from coordinator.phases import LAST_SAVE_S, Phase
from coordinator.saves import SAVE_S
from coordinator.state import CoordinatorState
from engine.fingerprint import fingerprint
from tests.simulation.arithmetic import Oracle
from tests.simulation.broken import Broken
from tests.simulation.disk import Disk
from tests.simulation.plan import Plan
from wire.messages import Bye

NO_ROOM = "expected room, got none"  # what a save that fails says
GIVEN_UP = "within 8 s, got no answer"  # what a stop says that waited long enough
AT_RISK = "expected a save within"  # what a run says that stops because saves fail
OTHER_ARITHMETIC = "expected the arithmetic that the run was trained with"


class Durability:
    """The rules of one world, over all generations of its coordinator.

    Attributes:
        seen: how often there was what every hundred worlds must have lived through.
    """

    def __init__(self, oracle: Oracle, plan: Plan) -> None:
        self._fingerprint = fingerprint(oracle.engine, oracle.run.model)
        self._every = plan.every
        self._unsaved_max = plan.unsaved_max
        self.seen: Counter[str] = Counter()

    def begin(
        self, state: CoordinatorState, disk: Disk, now: float, rounds_otherwise: bool
    ) -> None:
        """Take up a new generation."""
        self._state, self._disk, self._rounds_otherwise = state, disk, rounds_otherwise
        self._durable_step = self._begun_step = disk.durable_step
        self._asked: int | None = None  # the step of the Save that is not answered yet
        self._asked_s = self._begun_s = self._ended_s = now
        self._is_going_back = False
        self._has_failed = False  # the last save that was answered
        self._stop_asked_s: float | None = None
        self._steps_at_risk = 0  # because saves failed, when it began to leave
        self._was_open, self._has_committed = True, False
        self._closed_s = now
        self._expect(self._called_durable == disk.durable_step, "a run resumes what is durable")

    def is_reason(self, failure: str) -> bool:
        """Say whether a coordinator may leave with this; `after` has looked at when."""
        reasons = NO_ROOM, GIVEN_UP, AT_RISK, OTHER_ARITHMETIC
        return any(reason in failure for reason in reasons)

    def after(self, event: events.Event, effects: Sequence[Effect], now: float) -> None:
        is_durable_now = self._hear(event, now)
        self._note_risk(now)
        self._has_committed = False  # in this very event
        for effect in effects:
            match effect:
                case Save():
                    self._check_save(effect, now)
                case Tell(CheckpointDurable(step)):
                    right = is_durable_now and step == self._durable_step
                    self._expect(right, "what was gone back from is never called durable", step)
                case Tell(StepCommitted(step=step)):
                    self._check_commit(step, now)
                case Tell(HeldOutEvaluated(step=step)):
                    is_ours = not self._rounds_otherwise
                    self._expect(is_ours, "other arithmetic evaluates nothing", step)
                case Send(_, Bye(durable_step=step)):
                    self._check_on_disk(step)
                case GoBack():  # the answer to a save that is under way is not believed
                    self.seen["a save revoked under way"] += self._asked is not None
                    self._asked, self._is_going_back = None, True
                    self._durable_step = -1
                case Finish(failure) if failure is not None:
                    self._check_failure(failure, now)
        self._check_on_disk(self._called_durable)
        self._expect(self._called_durable <= self._step, "what is durable was committed")
        is_known = self._called_durable == self._durable_step
        self._expect(is_known, "a step is durable when its save has succeeded", self._durable_step)
        self._check_pending()
        if isinstance(event, events.Probed):
            is_allowed = not (self._rounds_otherwise and self._is_training)
            self._expect(is_allowed, "other arithmetic goes on with nothing")
        if self._is_training and not any(isinstance(effect, GoBack) for effect in effects):
            self._check_training(now)
        self._check_stop(event, now)

    # ---- what production says ----------------------------------------------------------------

    @property
    def _step(self) -> int:
        return self._state._training.step

    @property
    def _called_durable(self) -> int:
        return self._state._phases.durable_step

    @property
    def _is_training(self) -> bool:
        return self._state._phases.is_training

    @property
    def _unsaved(self) -> int:
        return self._step - max(self._durable_step, 0)

    def _expect(self, holds: bool, promise: str, detail: object = "") -> None:
        if not holds:
            raise Broken(promise, self._step, detail)

    # ---- saves -------------------------------------------------------------------------------

    def _hear(self, event: events.Event, now: float) -> bool:
        """Take the answer to a save; say whether it has made a step durable."""
        match event:
            case events.Saved(step) | events.SaveFailed(step) if step == self._asked:
                self._asked, self._ended_s = None, now
                self._has_failed = isinstance(event, events.SaveFailed)
                if not self._has_failed:
                    self._durable_step = step
                return not self._has_failed
            case events.WentBack(durable_step=step):
                self._durable_step = self._begun_step = step
                self._is_going_back = False
            case events.GoBackFailed():
                self._is_going_back = False
            case events.StopAsked() if self._stop_asked_s is None:
                self._stop_asked_s = now
        return False

    def _check_save(self, save: Save, now: float) -> None:
        self._expect(self._asked is None, "one save at a time", self._asked)
        self._expect(not self._rounds_otherwise, "other arithmetic saves nothing", save.step)
        is_told = save.fingerprint == self._fingerprint or save.step == 0
        self._expect(is_told, "a save names its arithmetic", save.fingerprint)
        self._asked, self._asked_s = save.step, now

    def _check_commit(self, step: int, now: float) -> None:
        self._expect(not self._rounds_otherwise, "other arithmetic commits nothing", step)
        self._has_committed = True
        if self._asked is not None and self._asked_s < now:
            self.seen["a step committed during a save"] += 1

    def _check_on_disk(self, step: int) -> None:
        is_on_disk = step == -1 or self._disk.holds(step)
        self._expect(is_on_disk, "what is called durable is on disk", step)

    def _check_pending(self) -> None:
        """What is waited for is under way, or waits itself for its evaluation."""
        pending_step = self._state._phases.saving_step
        waiting = self._state._phases._evaluations._waiting
        awaited = self._asked if waiting is None else waiting.step
        self._expect(pending_step == awaited, "a save is waited for while it lasts", awaited)

    def _check_training(self, now: float) -> None:
        """What is due is saved, and nobody goes on for ever without.

        While an answer is disputed, nothing is saved, and no commit is the last.
        """
        pending_step = self._state._phases.saving_step
        if pending_step not in (None, self._begun_step):
            self._begun_step, self._begun_s = pending_step, now
        if self._state._audits.disputes:
            return
        is_hopeful = pending_step is not None and not self._is_stuck(now)
        is_safe = is_hopeful or not self._has_failed or self._unsaved < self._unsaved_max
        self._expect(is_safe, "a run stops before too much is at risk", self._unsaved)
        if self._has_committed and pending_step is None:
            self._expect(not self._is_due(now), "what is due is saved", self._begun_step)

    def _is_due(self, now: float) -> bool:
        if self._every.steps is None:
            return now - self._ended_s >= self._every.seconds
        return self._step // self._every.steps > self._begun_step // self._every.steps

    def _is_stuck(self, now: float) -> bool:
        return self._asked is not None and now - self._begun_s > SAVE_S

    # ---- leaving -----------------------------------------------------------------------------

    def _note_risk(self, now: float) -> None:
        is_open = self._state._phases.is_open
        if self._was_open and not is_open:
            is_failing = self._has_failed or self._is_stuck(now)
            self._steps_at_risk = self._unsaved if is_failing else 0
            self._closed_s = now
        self._was_open = is_open

    def _check_stop(self, event: events.Event, now: float) -> None:
        has_left = self._state._phases.phase is Phase.LEFT
        if isinstance(event, events.Ticked) and AT_RISK in self._state._phases._disk_failure:
            is_patient = now - self._closed_s < LAST_SAVE_S
            self._expect(is_patient or has_left, "a run at risk waits for no disk for ever")
        if isinstance(event, events.StopAsked) and self._stop_asked_s is not None:
            is_patient = now - self._stop_asked_s < LAST_SAVE_S
            self._expect(is_patient or has_left, "a stop waits for no disk for ever")

    def _check_failure(self, failure: str, now: float) -> None:
        """A coordinator leaves over its saves, or its arithmetic, only where that is so."""
        if AT_RISK in failure:
            is_so = self._steps_at_risk >= self._unsaved_max
            self._expect(is_so, "a run that risks little goes on", self._steps_at_risk)
            self.seen["too much at risk"] += 1
        elif GIVEN_UP in failure:
            is_asked = self._stop_asked_s is not None and now - self._stop_asked_s >= LAST_SAVE_S
            is_late = self._asked is not None or self._is_going_back
            self._expect(is_asked and is_late, "a last save is waited for", failure)
            self.seen["a last save given up"] += 1
        elif OTHER_ARITHMETIC in failure:
            self._expect(self._rounds_otherwise, "our own arithmetic is known again", failure)
            self.seen["other arithmetic refused"] += 1
