"""When to save, what is known to be on disk, and how much is at risk because saving fails."""

from coordinator.settings import CheckpointEvery

SAVE_S = 30.0  # a save that takes longer counts as one that fails


class Saves:
    """The saves of one generation: at most one is under way.

    Attributes:
        durable_step: the newest step that is on disk; -1 if there is none.
        pending_step: the step being written now, or None.
        failure: why the last save failed, for people; empty if it did not.
        failures: saves that have failed since the last one that did not.
    """

    def __init__(self, every: CheckpointEvery, durable_step: int, unsaved_max: int) -> None:
        """Begin with nothing under way.

        Args:
            durable_step: the newest step that is on disk; -1 if there is none.
            unsaved_max: steps that may be at risk because saves fail.
        """
        self._every = every
        self._unsaved_max = unsaved_max
        self._began_s = 0.0  # of the save that is pending
        self._ended_s = 0.0  # of the last save, so that a slow disk is left some time
        self._begun_step = durable_step  # of the last save, whatever came of it
        self._has_told = False  # that the save which is pending does not end
        self.durable_step = durable_step
        self.pending_step: int | None = None
        self.failure = ""
        self.failures = 0

    @property
    def newest(self) -> str:
        """For people."""
        return f"{'no step' if self.durable_step < 0 else f'step {self.durable_step}'} is durable"

    def start(self, now: float) -> None:
        """Count the time to the next save from now."""
        self._ended_s = now

    def is_due(self, step: int, now: float) -> bool:
        """Say whether a step that was just committed should be saved.

        A save that falls due while another is under way begins with the first step after that.
        """
        if self.pending_step is not None or step == self.durable_step:
            return False
        if self._every.steps is not None:
            return step // self._every.steps > self._begun_step // self._every.steps
        return now - self._ended_s >= self._every.seconds

    def unsaved(self, step: int) -> int:
        """Count the steps up to one that would be computed again after a crash."""
        return step - max(self.durable_step, 0)

    def trouble(self, now: float) -> str:
        """Say what keeps steps from becoming durable, for people; empty if nothing does."""
        if self._is_stuck(now):
            return f"step {self.pending_step} is being saved for {now - self._began_s:.0f} s"
        return self.failure

    def risk(self, step: int, now: float) -> str:
        """Say why a run that stands at a step should stop, for people; empty if it may go on."""
        trouble = self.trouble(now)
        may_help = self.pending_step is not None and not self._is_stuck(now)
        if not trouble or may_help or self.unsaved(step) < self._unsaved_max:
            return ""
        return f"expected a save within {self._unsaved_max:,} steps, got none: {trouble}"

    def stuck(self, now: float) -> tuple[int, float] | None:
        """Give the step of a save that does not end, and its seconds so far; once for each save."""
        if self._has_told or not self._is_stuck(now):
            return None
        assert self.pending_step is not None
        self._has_told = True
        return self.pending_step, now - self._began_s

    def _is_stuck(self, now: float) -> bool:
        return self.pending_step is not None and now - self._began_s > SAVE_S

    def begin(self, step: int, now: float) -> None:
        assert self.pending_step is None, "two saves at once"
        self.pending_step = self._begun_step = step
        self._began_s = now
        self._has_told = False

    def go_back(self, durable_step: int) -> None:
        """Forget the save that is pending and what was on disk after durable_step."""
        self.pending_step = None
        self.durable_step = self._begun_step = durable_step

    def give_up(self) -> None:
        """Forget the save that is pending; the next is due when it would be anyway."""
        self.pending_step = None

    def succeed(self, step: int, now: float) -> None:
        self._end(step, now)
        self.durable_step = step
        self.failure, self.failures = "", 0

    def fail(self, step: int, reason: str, now: float) -> None:
        self._end(step, now)
        self.failure = reason
        self.failures += 1

    def _end(self, step: int, now: float) -> None:
        assert step == self.pending_step
        self.pending_step = None
        self._ended_s = now
