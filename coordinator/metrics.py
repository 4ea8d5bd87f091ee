"""metrics.jsonl: one JSON object for each step of a run, the contract with tools that read it.

`step` (updates applied, from 1), `loss` (mean over the global batch, nats, full precision),
`documents` (of the step), `seconds` (the step took), `workers`, `learning_rate`, `bytes_sent` and
`bytes_received` (parameters and documents; gradients), `phases` (name -> seconds, see
coordinator.timeline); with `--grad-norms` `grad_norms` (matrix -> norm of its gradient); and, on
the lines of steps that were evaluated, `held_out_loss` (mean over held-out documents, nats; null if
it was not finite). Step 0 has no line, so its held-out loss is told and not written.

A line is written once, in order of the steps. So the line of a step that is being evaluated waits
for the answer, and later lines wait behind it, in memory: the step's checkpoint waits as well, and
what is not durable is computed again. A coordinator that is stopped writes its last line without
the held-out loss if that takes too long; the run that goes on from there evaluates the step again,
and appends the key to that line before it writes another.

After an fsync that failed nobody knows what the disk has, and one that succeeds later says nothing.
So the file is *doubtful*: the loop leaves its lines in memory, and the next save writes a new file
beside the loop, with what is in the old one and the lines that wait.
"""

import json
import math
import os
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, Self

from coordinator.facts import StepCommitted
from coordinator.files import sync_directory, write_durably

LINE_END = b"}\n"
END_S = 1.0  # that the end of a run waits for a thread that goes back and does not return


class Metrics:
    """A metrics file; a line that the disk refuses is kept and tried again.

    `sync` is for the saving thread, `go_back` for either while no save is under way, all others are
    for the loop. What both use is changed under a lock, which nobody holds during an fsync.

    Attributes:
        is_evaluated: the step that the run goes on from has its held-out loss.
        complaint: what is wrong with the lines it goes on from, for people; empty if nothing is.
    """

    def __init__(self, path: Path, step: int) -> None:
        """Open the file and forget every line after `step`: those steps are computed again."""
        path.touch()
        sync_directory(path.parent)
        self._path = path
        self._lock = Lock()
        self._file = path.open("r+b", buffering=0)
        self._is_doubtful = False  # whether what was written has reached the disk
        self.go_back(step)

    def go_back(self, step: int) -> None:
        """Forget every line after `step`, written or not."""
        with self._lock:
            content = _content(self._file.fileno())
            size, steps = _kept(content, step)
            _, _, newest = content[:size].removesuffix(b"\n").rpartition(b"\n")
            self._last = _parse(newest + b"\n")  # the newest line in the file
            self.is_evaluated = self._last["step"] == step and "held_out_loss" in self._last
            self.complaint = _complaint(self._path, steps, step)
            self._file.truncate(size)
            self._file.seek(size)
            self._waiting: list[dict[str, Any]] = []
            self._held_step: int | None = None
            self._pending = bytearray()  # lines that nothing holds, the first perhaps half-written

    def append(self, fact: StepCommitted) -> None:
        """Add a step's line; the next flush writes it."""
        with self._lock:
            self._waiting.append(_line_of(fact))

    def hold(self, step: int) -> None:
        """Keep the line of a step, and those after it, until the step is complete."""
        with self._lock:
            if self._held_step is None:  # else they wait already
                self._held_step = step or None  # step 0 has no line

    def complete(self, step: int, held_out_loss: float) -> None:
        """Give a step that is held its held-out loss; any other has done without."""
        with self._lock:
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
        self._flush(wait_s=0)  # the loop does not wait for a thread that goes back

    def settle(self) -> None:
        """Write every line so far, held or not, or leave it to `sync`, which makes it durable.

        Raises:
            OSError: the disk refuses.
        """
        with self._lock:
            self._held_step = None
            self._write()

    def sync(self) -> None:
        """Make durable what was settled; if that fails, the next call tries it with a new file.

        Raises:
            OSError: the disk refuses.
        """
        if self._is_doubtful:
            self._renew()
            return
        try:
            os.fsync(self._file.fileno())
        except OSError:
            with self._lock:
                self._is_doubtful = True
            raise

    def _renew(self) -> None:
        """Write the file anew, with the lines that wait, and give it to the loop.

        What is open stays open until then, and is what the next attempt copies: when this one fails
        half-way, the name may be the new file's already.
        """
        with self._lock:
            added = bytes(self._pending)
        descriptor = self._file.fileno()
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        write_durably(self._path, _content(descriptor) + added, mode)
        renewed = self._path.open("r+b", buffering=0)
        renewed.seek(0, os.SEEK_END)
        with self._lock:
            stale, self._file = self._file, renewed
            del self._pending[: len(added)]
            self._is_doubtful = False
        with suppress(OSError):
            stale.close()

    def _flush(self, wait_s: float) -> None:
        if self._lock.acquire(timeout=wait_s):
            try:
                with suppress(OSError):  # `settle`, before the next save, says so
                    self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        held_step = math.inf if self._held_step is None else self._held_step
        while self._waiting and self._waiting[0]["step"] < held_step:
            self._last = self._waiting.pop(0)
            self._pending += (json.dumps(self._last) + "\n").encode()
        while self._pending and not self._is_doubtful:
            del self._pending[: self._file.write(self._pending)]

    def _extend(self, known: dict[str, Any]) -> None:
        """Append a key to the last line of the file; if anything fails, it stays as it was.

        First what is new, behind the end of the line, where a crash makes it nobody's; then the
        end of the line becomes a comma, in a place that the disk has already.
        """
        if self._pending or self._is_doubtful:
            return
        descriptor = self._file.fileno()
        end = self._file.tell()
        added = json.dumps(known).removeprefix("{").encode() + b"\n"
        if os.pread(descriptor, len(LINE_END), end - len(LINE_END)) != LINE_END:
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
        self._flush(END_S)
        self._file.close()


def _line_of(fact: StepCommitted) -> dict[str, Any]:
    line = {field.name: getattr(fact, field.name) for field in fields(fact)}
    if not fact.grad_norms:
        del line["grad_norms"]
    return line


def held_out_loss_of(path: Path, step: int) -> float | None:
    """Give what the line of a step says: NaN if it was not finite, None if it is not known."""
    return held_out_losses(path).get(step)


def held_out_losses(path: Path) -> dict[int, float]:
    """Give the held-out loss of every step that was evaluated: NaN if it was not finite."""
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    losses = {}
    for values in map(_parse, (line for line in BytesIO(content) if b'"held_out_loss"' in line)):
        loss = values.get("held_out_loss", 0)
        if loss is None or isinstance(loss, float):
            losses[values["step"]] = math.nan if loss is None else loss
    return losses


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _kept(content: bytes, step: int) -> tuple[int, list[int]]:
    """Give how many bytes stay, and the steps of the lines in them; 0 where none can be read.

    They end with the last line that is the first of its step and need not be computed again. Behind
    it are lines of later steps, repeated ones, and what a crash has left. In front of it nothing is
    removed, whatever it is: it may be all that is left of a durable step.
    """
    kept_bytes, kept_lines = 0, 0
    position, steps = 0, []
    seen = set()
    for line in BytesIO(content):
        position += len(line)
        number = _parse(line)["step"]
        steps.append(number)
        if 0 < number <= step and number not in seen:
            seen.add(number)
            kept_bytes, kept_lines = position, len(steps)
    return kept_bytes, steps[:kept_lines]


def _complaint(path: Path, steps: list[int], step: int) -> str:
    """Say where there is not one line for each step, for people; empty if there is."""
    counts = Counter(steps)
    wrong = [number for number in range(1, step + 1) if counts[number] != 1]
    strangers = [number for number in steps if not 0 < number <= step]
    if wrong:
        found = f"{counts[wrong[0]] or 'none'} for {wrong[0]}"
        found += f", with {len(wrong) - 1:,} more steps at fault" if wrong[1:] else ""
    elif strangers:
        found = f"{len(strangers):,} more, of no such step"
    else:
        return ""
    return f"expected one line for each step up to {step}, got {found} — {path}; the run goes on"


def _parse(line: bytes) -> dict[str, Any]:
    """Read a whole line; any other is one of step 0."""
    try:
        values = json.loads(line.decode()) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and type(values.get("step")) is int:
        return values
    return {"step": 0}
