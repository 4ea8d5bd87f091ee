"""Documents per second over the last steps of a run, or the last branches of a worker."""

from collections import deque

RECENT = 20  # steps or branches that a rate is measured over


class Rate:
    """How fast documents went lately."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)

    def add(self, documents: int, seconds: float) -> None:
        """Take one more step or branch, and forget the oldest."""
        self._recent.append((documents, seconds))

    @property
    def documents_per_s(self) -> float:
        """Documents per second; 0.0 while nothing is known."""
        documents, seconds = 0, 0.0
        for more_documents, more_seconds in self._recent:
            documents += more_documents
            seconds += more_seconds
        return documents / max(seconds, 1e-9)
