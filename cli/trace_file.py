"""The file of `--timeline-filename`: where the time of every step went, for Perfetto."""

import json
import os
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from coordinator.chrome_trace import ChromeTrace
from coordinator.timeline import StepTrace

BEGIN, END = b"[\n", b"\n]\n"
TAIL_BYTES = 65_536  # some hundred events: among them is the one that ends last


class TraceFile:
    """A JSON array of events, which grows while a run goes on.

    The array is closed when the run ends; who reads it before, or after a crash, finds an array
    without its end, which viewers of this format take.
    """

    def __init__(self, path: Path, goes_on: bool) -> None:
        """Open the file.

        Args:
            goes_on: the run does: events are added behind those of its earlier starts.

        Raises:
            OSError: it cannot be written.
            UsageError: what is there is no timeline.
        """
        is_old = goes_on and path.exists()
        self._file = path.open("r+b" if is_old else "wb")
        content = self._tail(path) if is_old else []
        self._trace = ChromeTrace(_end_s(content))
        self._separator = b",\n" if content else BEGIN
        for event in self._trace.begin():
            self._write(event)

    def add(self, step: StepTrace) -> None:
        """Add the events of a step.

        Raises:
            OSError: the disk refuses.
        """
        for event in self._trace.events(step):
            self._write(event)

    def close(self) -> None:
        """End the array.

        Raises:
            OSError: the disk refuses; the file is closed all the same.
        """
        try:
            self._file.write(END)
        finally:
            self._file.close()

    def _tail(self, path: Path) -> list[dict[str, Any]]:
        """Cut the file back to its last whole event, and give the last ones."""
        if self._file.read(len(BEGIN)) not in (BEGIN, b""):
            self._file.close()
            raise UsageError(
                f"expected a timeline of this run, got another file — {path};"
                " give --timeline-filename another name"
            )
        size = self._file.seek(0, os.SEEK_END)
        begin = max(0, size - TAIL_BYTES)
        self._file.seek(begin)
        lines = self._file.read().split(b"\n")
        events, kept_bytes = [], begin
        for line in lines:
            event = _event(line)
            if event is not None:
                events.append(event)
                kept_bytes = begin + len(line.removesuffix(b","))
            begin += len(line) + 1
        self._file.seek(kept_bytes if events else 0)
        self._file.truncate()
        return events

    def _write(self, event: str) -> None:
        self._file.write(self._separator + event.encode())
        self._separator = b",\n"


def _event(line: bytes) -> dict[str, Any] | None:
    """Read a line of the array; None if it is no whole event."""
    try:
        event = json.loads(line.removesuffix(b","))
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _end_s(events: list[dict[str, Any]]) -> float:
    """Give the moment, in seconds, at which the last of events ends."""
    ends_us = [event["ts"] + event["dur"] for event in events if event.get("ph") == "X"]
    return float(max(ends_us, default=0.0)) / 1e6
