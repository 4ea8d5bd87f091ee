"""Virtual time: a heap of what is to come, and a record of what was."""

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Jumps from one due call to the next; those due at once are made in the order they came in.

    Attributes:
        now: virtual seconds since the world began.
        calls: how many calls have been made.
        trace: what was said, one line each; None where nobody wants to know.
    """

    def __init__(self, traces: bool) -> None:
        self.now = 0.0
        self.calls = 0
        self.trace: list[str] | None = [] if traces else None
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._seq = 0

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        self.at(self.now + max(delay_s, 0.0), call, *args)

    def at(self, at_s: float, call: Callable[..., None], *args: Any) -> None:
        self._seq += 1
        heapq.heappush(self._heap, (at_s, self._seq, call, args))

    def advance(self) -> None:
        """Make the next call."""
        self.now, _, call, args = heapq.heappop(self._heap)
        self.calls += 1
        call(*args)

    def say(self, who: str, what: object) -> None:
        """Record a line; `what` is only turned to text where somebody wants to know."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.3f}  {who:<12} {what}")
