"""When to evaluate the held-out loss: before each save, which waits for it.

So whatever is durable has its held-out loss in metrics.jsonl, and that file only ever grows. An
evaluation is forward only, about the work of one step; a save that comes so much later costs a
crash one step more. Whoever asks the coordinator to stop waits for it a second and no longer.
"""

from coordinator.effects import Effect, Evaluate, Hold, Save, Tell
from coordinator.facts import HeldOutEvaluated
from engine.params import Flat

PATIENCE_S = 1.0  # how long a stop may wait for evaluations; a service manager gives it 10 in all


class Evaluations:
    """The evaluations of one generation: at most one is under way, and at most one save waits.

    Attributes:
        is_running: an evaluation is under way, and somebody waits for its answer.
    """

    def __init__(self, has_held_out: bool, is_first_known: bool = False) -> None:
        """Begin with nothing under way.

        Args:
            has_held_out: there are documents to evaluate on; otherwise no save waits.
            is_first_known: the held-out loss of the step that the run goes on from is known.
        """
        self._is_over = not has_held_out
        self._is_first_known = is_first_known
        self._hurried_s: float | None = None
        self._running_step: int | None = None
        self._is_void = False  # what is running is of a step that was undone
        self._waiting: Save | None = None

    @property
    def is_running(self) -> bool:
        return self._running_step is not None

    def check(self, pending_step: int | None) -> None:
        """Assert what must hold between any two events, whatever step is being saved."""
        assert self._waiting is None or self._running_step is not None, "a save waits for nothing"
        assert self._waiting is None or self._waiting.step == pending_step, "a save is forgotten"

    def start(self, step: int, params: Flat) -> list[Effect]:
        """Evaluate a durable step whose evaluation was lost when the coordinator ended."""
        return [] if self._is_over or self._is_first_known else self._evaluate(step, params)

    def save(self, save: Save) -> list[Effect]:
        """Save a step, once it is evaluated."""
        assert self._waiting is None, "two saves at once"
        if self._is_over:
            return [save]
        self._waiting = save
        if self._running_step is not None:
            return [Hold(save.step)]
        return self._evaluate(save.step, save.params)

    def end(self, step: int, held_out_loss: float) -> list[Effect]:
        """Tell what an evaluation has come to, and go on with the save that waits."""
        assert self._running_step in (step, None)
        told: list[Effect] = [Tell(HeldOutEvaluated(step, held_out_loss))]
        is_void, self._is_void, self._running_step = self._is_void, False, None
        if is_void:
            told = []
        if self._waiting is None:
            return told
        if self._waiting.step != step or is_void:
            return told + self._evaluate(self._waiting.step, self._waiting.params)
        return told + self._release()

    def drop_save(self) -> bool:
        """Forget the save that waits; say whether there was one."""
        save, self._waiting = self._waiting, None
        return save is not None

    def forget(self) -> None:
        """Save no step that waits, and believe nothing of one that runs: both are undone."""
        self._waiting = None
        self._is_void = self._running_step is not None

    def hurry(self, now: float) -> list[Effect]:
        """Give up, once it was asked for so long that nobody should wait any more."""
        self._hurried_s = now if self._hurried_s is None else self._hurried_s
        if now - self._hurried_s < PATIENCE_S:
            return []
        self._is_over, self._running_step = True, None
        return self._release()

    def _evaluate(self, step: int, params: Flat) -> list[Effect]:
        self._running_step = step
        return [Evaluate(step, params)]

    def _release(self) -> list[Effect]:
        save, self._waiting = self._waiting, None
        return [] if save is None else [save]
