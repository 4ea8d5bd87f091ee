"""How a process learns that it should leave: a signal, or the death of the one that started it."""

import os
import signal
from types import FrameType
from typing import Self

from cli import errors


class StopFlag:
    """Set by SIGINT and SIGTERM, and by the loss of a parent.

    While somebody listens (`with stop:`) a signal only sets the flag, and the listener leaves in
    its own time. Otherwise nothing is at stake, and the signal ends the process at once.

    Attributes:
        was_interrupted: it was SIGINT, Ctrl-C; the exit code says so.
        is_urgent: it was asked for twice; wait for nobody.
    """

    def __init__(self, parent: int | None = None) -> None:
        """Take the signals over for the whole process.

        Args:
            parent: process id; when it is no longer our parent, stop. None to outlive anybody.
        """
        self._parent = parent
        self._is_set = False
        self._has_listener = False
        self.was_interrupted = False
        self.is_urgent = False
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

    def __call__(self) -> bool:
        if self._parent is not None and os.getppid() != self._parent:
            self._is_set = True
        return self._is_set

    def __enter__(self) -> Self:
        self._has_listener = True
        return self

    def __exit__(self, *_: object) -> None:
        self._has_listener = False

    @property
    def exit_code(self) -> int:
        """What a clean end of this process returns."""
        return errors.INTERRUPTED if self.was_interrupted else errors.DONE

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.is_urgent = self._is_set
        self.was_interrupted = self.was_interrupted or number == signal.SIGINT
        self._is_set = True
        if not self._has_listener:
            raise SystemExit(self.exit_code)
