"""metrics.jsonl: one JSON object for each step of a run, the contract with tools that read it.

`step` (updates applied, from 1), `loss` (mean over the global batch, nats, full precision),
`documents` (of the step), `seconds` (the step took), `workers`, `learning_rate`; and, on the lines
of steps that were evaluated, `held_out_loss` (mean over held-out documents, nats; null if it was
not finite). Step 0 has no line, so its held-out loss is told and not written.

A line is written once, in order of the steps. So the line of a step that is being evaluated waits
for the answer, and later lines wait behind it, in memory: the step's checkpoint waits as well, and
what is not durable is computed again. A coordinator that is stopped writes its last line without
the held-out loss if that takes too long; the run that goes on from there evaluates the step again,
and appends the key to that line before it writes another.
"""

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from coordinator.facts import StepCommitted
from coordinator.files import sync_directory, write_durably

LINE_END = b"}\n"


class Metrics:
    """A metrics file; a line that the disk refuses is kept and tried again.

    Attributes:
        is_evaluated: the step that the run goes on from has its held-out loss.
    """

    def __init__(self, path: Path, step: int) -> None:
        """Open the file and forget every line after `step`: those steps are computed again."""
        path.touch()
        sync_directory(path.parent)
        self._path = path
        self._file = path.open("r+b", buffering=0)
        self._is_doubtful = False  # whether what was written has reached the disk
        self.go_back(step)

    def go_back(self, step: int) -> None:
        """Forget every line after `step`, written or not."""
        kept: list[str] = []
        self._last: dict[str, Any] = {"step": 0}  # the newest line in the file
        for line in self._path.read_text(errors="replace").splitlines(keepends=True):
            values = _parse(line)
            if not self._last["step"] < values["step"] <= step:
                break
            self._last = values
            kept.append(line)
        self.is_evaluated = self._last["step"] == step and "held_out_loss" in self._last
        self._file.truncate(len("".join(kept).encode()))
        self._file.seek(0, os.SEEK_END)
        self._waiting: list[dict[str, Any]] = []
        self._held_step: int | None = None
        self._pending = b""

    def append(self, fact: StepCommitted) -> None:
        """Add a step's line; the next flush writes it."""
        self._waiting.append(asdict(fact))

    def hold(self, step: int) -> None:
        """Keep the line of a step, and those after it, until the step is complete."""
        if self._held_step is None:  # else they wait already
            self._held_step = step or None  # step 0 has no line

    def complete(self, step: int, held_out_loss: float) -> None:
        """Give a step that is held its held-out loss; any other has done without."""
        if step != self._held_step:
            return
        self._held_step = None
        known = {"held_out_loss": held_out_loss if math.isfinite(held_out_loss) else None}
        if self._last["step"] == step:
            self._extend(known)
        for line in self._waiting:
            if line["step"] == step:
                line.update(known)

    def flush(self) -> None:
        """Write every line that need not wait, or keep it until there is room."""
        with suppress(OSError):  # `settle`, before the next save, says so
            self._write()

    def settle(self) -> None:
        """Write every line so far, held or not, so that `sync` makes it durable.

        Raises:
            OSError: the disk refuses.
        """
        self._held_step = None
        if self._is_doubtful:
            self._renew()
        self._write()

    def sync(self) -> None:
        """Make what was written durable; for a thread beside the loop.

        Raises:
            OSError: the disk refuses.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._is_doubtful = True
            raise

    def _renew(self) -> None:
        """Write the file anew: an fsync that failed once says nothing when it succeeds later.

        What is open is copied, and stays open until its copy is: when the copy fails half-way, the
        name may be the copy's already, and later lines are in what is open.
        """
        descriptor = self._file.fileno()
        write_durably(self._path, os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        renewed = self._path.open("r+b", buffering=0)
        renewed.seek(0, os.SEEK_END)
        stale, self._file = self._file, renewed
        self._is_doubtful = False
        with suppress(OSError):
            stale.close()

    def _write(self) -> None:
        held_step = math.inf if self._held_step is None else self._held_step
        while self._waiting and self._waiting[0]["step"] < held_step:
            self._last = self._waiting.pop(0)
            self._pending += (json.dumps(self._last) + "\n").encode()
        while self._pending:
            self._pending = self._pending[self._file.write(self._pending) :]

    def _extend(self, known: dict[str, Any]) -> None:
        """Append a key to the last line of the file; if anything fails, it stays as it was.

        First what is new, behind the end of the line, where a crash makes it nobody's; then the
        end of the line becomes a comma, in a place that the disk has already.
        """
        descriptor = self._file.fileno()
        end = self._file.tell()
        added = json.dumps(known).removeprefix("{").encode() + b"\n"
        if self._pending or os.pread(descriptor, len(LINE_END), end - len(LINE_END)) != LINE_END:
            return
        with suppress(OSError):
            if self._file.write(added) == len(added):
                os.pwrite(descriptor, b", ", end - len(LINE_END))
                return
        self._file.truncate(end)
        self._file.seek(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held_step = None
        self.flush()
        self._file.close()


def held_out_loss_of(path: Path, step: int) -> float | None:
    """Give what the line of a step says: NaN if it was not finite, None if it is not known."""
    return held_out_losses(path).get(step)


def held_out_losses(path: Path) -> dict[int, float]:
    """Give the held-out loss of every step that was evaluated: NaN if it was not finite."""
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    except OSError:
        return {}
    losses = {}
    for values in map(_parse, (line for line in lines if '"held_out_loss"' in line)):
        loss = values.get("held_out_loss", 0)
        if loss is None or isinstance(loss, float):
            losses[values["step"]] = math.nan if loss is None else loss
    return losses


def _parse(line: str) -> dict[str, Any]:
    """Read a whole line; any other is one of step 0."""
    try:
        values = json.loads(line) if line.endswith("\n") else None
    except ValueError:
        values = None
    if isinstance(values, dict) and type(values.get("step")) is int:
        return values
    return {"step": 0}
