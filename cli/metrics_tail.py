"""A metrics file that grows: what is new at each look, and what no longer holds.

A run that goes back, or is resumed from an earlier step, cuts its file; a step that is evaluated
late has its line made longer in place. So each look compares what stands before the place that was
read to, and reads all of it again where that has changed.
"""

from pathlib import Path

from cli.metrics_lines import complaint, parse_lines
from coordinator.metrics_line import Line

OVERLAP = 4096  # bytes compared at each look: some lines, and a cut run writes other seconds


class Tail:
    """One metrics file, read from its start on.

    Attributes:
        complaint: what was passed over in the newest look, for people; empty if nothing was.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it need not exist yet."""
        self._path = path
        self._known: dict[int, Line] = {}
        self._end = 0  # of the last whole line, bytes from the start of the file
        self._rows = 0  # lines before that, damaged ones too
        self._seen = b""  # what stands before it
        self.complaint = ""

    def read(self) -> tuple[int | None, list[Line]]:
        """Give the first step that no longer holds as it was given, if any, and the new lines.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._end - len(self._seen))
                is_same = file.read(len(self._seen)) == self._seen
                if not is_same:
                    file.seek(0)
                added = file.read()
        except FileNotFoundError:
            is_same, added = not self._known, b""
        if is_same:
            return None, self._take(added)
        return self._read_again(added)

    def _read_again(self, content: bytes) -> tuple[int | None, list[Line]]:
        before = self._known
        self._known, self._end, self._rows, self._seen = {}, 0, 0, b""
        lines = self._take(content)
        changed = [step for step, line in before.items() if self._known.get(step) != line]
        if not changed:
            return None, [line for line in lines if line.step not in before]
        back = min(changed)
        return back, [line for line in lines if line.step >= back or line.step not in before]

    def _take(self, added: bytes) -> list[Line]:
        """Give the lines of unknown steps among what was added, up to the last whole line."""
        whole = added[: added.rfind(b"\n") + 1]
        found, damaged = parse_lines(whole)
        lines = [line for line in found if line.step not in self._known]
        self._known |= {line.step: line for line in lines}
        self.complaint = complaint(self._path, [self._rows + number for number in damaged])
        self._end += len(whole)
        self._rows += whole.count(b"\n")
        self._seen = (self._seen + whole)[-OVERLAP:]
        return lines
