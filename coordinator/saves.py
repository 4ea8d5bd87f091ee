"""When to save, and what is known to be on disk."""

from coordinator.settings import CheckpointEvery


class Saves:
    """The saves of one generation: at most one is under way.

    Attributes:
        durable_step: the newest step that is on disk; -1 if there is none.
        pending_step: the step being written now, or None.
    """

    def __init__(self, every: CheckpointEvery, durable_step: int) -> None:
        self._every = every
        self._ended_s = 0.0  # of the last save, so that a slow disk is left some time
        self.durable_step = durable_step
        self.pending_step: int | None = None

    @property
    def newest(self) -> str:
        """For people."""
        return f"{'no step' if self.durable_step < 0 else f'step {self.durable_step}'} is durable"

    def start(self, now: float) -> None:
        """Count the time to the next save from now."""
        self._ended_s = now

    def is_due(self, step: int, now: float) -> bool:
        """Say whether a step that was just committed should be saved."""
        if self.pending_step is not None or step == self.durable_step:
            return False
        if self._every.steps is not None:
            return step % self._every.steps == 0
        return now - self._ended_s >= self._every.seconds

    def begin(self, step: int) -> None:
        assert self.pending_step is None, "two saves at once"
        self.pending_step = step

    def go_back(self, durable_step: int) -> None:
        """Forget the save that is pending and what was on disk after durable_step."""
        self.pending_step = None
        self.durable_step = durable_step

    def give_up(self) -> None:
        """Forget the save that is pending; the next is due when it would be anyway."""
        self.pending_step = None

    def succeed(self, step: int, now: float) -> None:
        self.fail(step, now)
        self.durable_step = step

    def fail(self, step: int, now: float) -> None:
        assert step == self.pending_step
        self.pending_step = None
        self._ended_s = now
