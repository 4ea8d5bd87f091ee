"""Documents per second over the last steps of a run, or the last branches of a worker."""

from collections import deque

RECENT = 20  # steps or branches that a rate is measured over


class Rate:
    """How fast documents went lately."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, float]] = deque()
        self._documents = 0
        self._seconds = 0.0

    def add(self, documents: int, seconds: float) -> None:
        """Take one more step or branch, and forget the oldest."""
        self._recent.append((documents, seconds))
        self._documents += documents
        self._seconds += seconds
        if len(self._recent) > RECENT:
            documents, seconds = self._recent.popleft()
            self._documents -= documents
            self._seconds -= seconds

    @property
    def documents_per_s(self) -> float:
        """Documents per second; 0.0 while nothing is known."""
        return self._documents / max(self._seconds, 1e-9)
