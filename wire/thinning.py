"""How many lines the same kind of event may have in a log: a burst, then so many a second."""

BURST = 120.0  # lines at once
PER_S = 1.0  # after that


class Thinning:
    """A bucket of lines that fills again with time."""

    def __init__(self, burst: float = BURST, per_s: float = PER_S) -> None:
        self._lines = self._burst = burst
        self._per_s = per_s
        self._filled_s = 0.0

    def has_line(self, now: float) -> bool:
        """Say whether there is a line left, and take it."""
        self._lines = min(self._burst, self._lines + (now - self._filled_s) * self._per_s)
        self._filled_s = now
        if self._lines < 1:
            return False
        self._lines -= 1
        return True
