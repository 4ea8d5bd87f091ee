"""metrics.jsonl: one JSON object for each step of a run, the contract with tools that read it.

`step` (updates applied, from 1), `loss` (mean over the global batch, nats, full precision),
`documents` (of the step), `seconds` (the step took), `workers`, `learning_rate`.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from coordinator.facts import StepCommitted


class Metrics:
    """An append-only metrics file; a line that the disk refuses is kept and tried again."""

    def __init__(self, path: Path, step: int) -> None:
        """Open the file and forget every line after `step`: those steps are computed again."""
        kept: list[str] = []
        if path.exists():
            last = 0
            for line in path.read_text(errors="replace").splitlines(keepends=True):
                current = _step_of(line)
                if not last < current <= step:
                    break
                last = current
                kept.append(line)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(len("".join(kept).encode()))
        self._pending = b""

    def append(self, fact: StepCommitted) -> None:
        """Write a step's line, or keep it until there is room."""
        self._pending += (json.dumps(asdict(fact)) + "\n").encode()
        with suppress(OSError):  # `sync`, before the next save, says so
            self._write()

    def sync(self) -> None:
        """Make every line so far durable.

        Raises:
            OSError: the disk refuses.
        """
        self._write()
        os.fsync(self._file.fileno())

    def _write(self) -> None:
        while self._pending:
            self._pending = self._pending[self._file.write(self._pending) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _step_of(line: str) -> int:
    """Give the step of a whole line, 0 for any other."""
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else 0
    except (ValueError, KeyError, TypeError):
        return 0
    return step if type(step) is int else 0
