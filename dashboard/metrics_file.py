"""metrics.jsonl, followed while it grows, gets its last line completed, or is cut back.

Nothing is watched but the bytes: the last line that was read is read again each time. If it is
still there, what follows is new; if it goes on where its end was, it has got its held-out loss; and
if anything else stands there, the run has gone back, and the file is read anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.metrics_line import Line, parse_line

BYTES_PER_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look has found.

    Attributes:
        is_anew: forget the lines before these.
        has_more: the next look finds more at once.
    """

    lines: Sequence[Line]
    is_anew: bool = False
    has_more: bool = False


class MetricsFile:
    """A metrics file that somebody else writes, and which may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0  # of the last line that was read
        self._last = b""  # that line, as it was, without its end

    def read(self) -> Reading:
        """Give the lines that are new; the last one again if it was completed."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(BYTES_PER_READ)
                is_anew = not data.startswith(self._last[:-1])
                if is_anew:
                    self._offset, self._last = 0, b""
                    file.seek(0)
                    data = file.read(BYTES_PER_READ)
        except OSError:  # not there yet, or being replaced
            return Reading(())
        whole, _, _ = data.rpartition(b"\n")
        if not whole:
            return Reading((), is_anew)
        lines = []
        at = self._offset
        for text in whole.split(b"\n"):
            line = None if text == self._last and at == self._offset else parse_line(text)
            if line is not None:
                lines.append(line)
                self._offset, self._last = at, text  # a fragment may be the end of this line soon
            at += len(text) + 1
        return Reading(lines, is_anew, has_more=bool(lines) and len(data) == BYTES_PER_READ)
