"""What is found when the checkpoints of a run are read and checked, as a run may be growing.

A coordinator prunes meanwhile, commit records first: a step whose record has gone was no damage,
and is passed over, unless somebody has named it. Steps after the mark REVOKED are whole, yet the
next start removes them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from coordinator.checkpoint import Checkpoint
from coordinator.errors import CheckpointCorrupt, RunDirectoryError
from coordinator.metrics import held_out_losses
from coordinator.run_directory import RunDirectory
from coordinator.store import ASIDE
from engine.params import Matrix, layout_of

STEPS_NAMED = 5  # in an error


@dataclass(frozen=True, slots=True)
class Entry:
    """One step that has a commit record, or had one when somebody named it.

    Attributes:
        problem: why it is not valid, or empty; what is None or empty then is not known.
        data_bytes: of its tensors' file; None if there is none.
        saved_s: when its record was written, in seconds since 1970; None if that is gone.
        held_out_loss: NaN if it was not finite, None if it is not known.
    """

    step: int
    problem: str
    data_bytes: int | None
    saved_s: float | None
    loss: float | None = None
    held_out_loss: float | None = None
    weights_sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "valid": not self.problem,
            "problem": self.problem or None,
            "loss": self.loss,
            "held_out_loss": _finite(self.held_out_loss),
            "bytes": self.data_bytes,
            "saved": None if self.saved_s is None else _moment(self.saved_s),
            "weights_sha256": self.weights_sha256 or None,
        }


@dataclass(frozen=True, slots=True)
class Details:
    """One valid checkpoint, and what is known of it besides.

    Attributes:
        sha256: of the data file.
        previous: the step saved before it, or None.
        saved_s, held_out_loss: as in Entry.
    """

    checkpoint: Checkpoint
    path: Path
    data_bytes: int
    sha256: str
    previous: int | None
    saved_s: float
    held_out_loss: float | None

    @property
    def layout(self) -> tuple[Matrix, ...]:
        return layout_of(self.checkpoint.model)

    def as_json(self) -> dict[str, Any]:
        one = self.checkpoint
        return {
            "run": one.run,
            "step": one.step,
            "cursor": None if one.cursor is None else asdict(one.cursor),
            "loss": one.loss,
            "held_out_loss": _finite(self.held_out_loss),
            "dataset": asdict(one.dataset),
            "characters": one.characters,
            "model": asdict(one.model),
            "num_params": one.model.num_params,
            "train": asdict(one.train),
            "exact_numerics": one.has_exact_numerics,
            "fingerprint": one.fingerprint or None,
            "contributors": dict(one.contributors),
            "previous": self.previous,
            "saved": _moment(self.saved_s),
            "file": str(self.path),
            "bytes": self.data_bytes,
            "sha256": self.sha256,
            "weights_sha256": one.weights_sha256,
            "tensors": {matrix.name: [matrix.rows, matrix.columns] for matrix in self.layout},
        }


def steps_of(directory: RunDirectory) -> list[int]:
    """Give the steps that have a commit record, newest first.

    Raises:
        RunDirectoryError: there are none.
    """
    steps = directory.checkpoints.steps()
    if not steps:
        count = len(set_aside(directory))
        bad = f" ({count} set aside as not valid)" if count else ""
        raise RunDirectoryError(
            f"expected a run with a checkpoint, got none{bad} — {directory.path}; check --run-dir"
        )
    return steps


def set_aside(directory: RunDirectory) -> list[Path]:
    """Give the files that a coordinator found to be wrong and renamed."""
    return sorted(directory.checkpoints.path.glob(f"*{ASIDE}"))


def entries(
    directory: RunDirectory, steps: Iterable[int], *, are_named: bool = False
) -> Iterator[Entry]:
    """Read and check some steps, one after the other.

    Args:
        are_named: by a person, who is told of those that are pruned by now.
    """
    losses = held_out_losses(directory.metrics)
    for step in steps:
        try:
            yield _entry(directory, step, losses)
        except FileNotFoundError:
            if are_named:
                yield Entry(step, _gone(directory, step), None, None)


def all_entries(directory: RunDirectory) -> Iterator[Entry]:
    """Read and check all steps; look again if meanwhile every one of them is pruned.

    Raises:
        RunDirectoryError: there are none.
    """
    is_seen = False
    while not is_seen:
        for entry in entries(directory, steps_of(directory)):
            is_seen = True
            yield entry


def pick(directory: RunDirectory, step: int | None, warn: Callable[[str], None]) -> Checkpoint:
    """Load a step's checkpoint, or the newest valid one, which a run would go on from.

    Args:
        warn: told which newer ones were passed over, and why.

    Raises:
        UsageError: there is no such step.
        RunDirectoryError: there is no step at all, none is valid, or this one was pruned just now.
        CheckpointCorrupt: the step that was asked for is not valid.
    """
    steps = steps_of(directory)
    if step is not None:
        check_step(directory, steps, step)
        try:
            return _load(directory, step)
        except CheckpointCorrupt:
            if step not in directory.checkpoints.steps():
                raise RunDirectoryError(_gone(directory, step)) from None
            raise
    newest, complaints = directory.checkpoints.newest(partial(_load, directory))
    for complaint in complaints:
        warn(f"passed over a checkpoint: {complaint}")
    if newest is None:
        raise RunDirectoryError(
            f"expected a valid checkpoint, got none — {directory.path}; check --run-dir"
        )
    return newest


def check_step(directory: RunDirectory, steps: list[int], step: int) -> None:
    """Refuse a step that is none of those.

    Raises:
        UsageError: it is not.
    """
    if step not in steps:
        more = ", ..." if len(steps) > STEPS_NAMED else ""
        named = ", ".join(map(str, steps[:STEPS_NAMED])) + more
        raise UsageError(
            f"expected a step that is saved ({named}), got {step} — {directory.path};"
            " gradflock checkpoint ls lists them"
        )


def details(directory: RunDirectory, step: int | None, warn: Callable[[str], None]) -> Details:
    """Find what is known of the checkpoint that `pick` picks.

    Raises:
        As `pick`.
    """
    while True:
        checkpoint = pick(directory, step, warn)
        with suppress(FileNotFoundError):  # pruned since: pick another, or say so of this one
            return _details(directory, checkpoint)


def _details(directory: RunDirectory, checkpoint: Checkpoint) -> Details:
    """Find what is known of a checkpoint that was loaded.

    Raises:
        FileNotFoundError: it was pruned since.
    """
    data_path, record_path = directory.checkpoints.paths(checkpoint.step)
    saved_s = record_path.stat().st_mtime
    try:
        record = directory.checkpoints.record(checkpoint.step)
    except CheckpointCorrupt:
        record_path.stat()
        raise
    return Details(
        checkpoint,
        data_path,
        record["bytes"],
        record["sha256"],
        record.get("previous"),
        saved_s,
        held_out_losses(directory.metrics).get(checkpoint.step),
    )


def _entry(directory: RunDirectory, step: int, held_out: Mapping[int, float]) -> Entry:
    """Read one step.

    Raises:
        FileNotFoundError: it has no commit record any more.
    """
    data_path, record_path = directory.checkpoints.paths(step)
    checkpoint, problem = None, ""
    try:
        checkpoint = _load(directory, step)
    except CheckpointCorrupt as error:
        problem = str(error).removesuffix(f" — {data_path}")
    saved_s = record_path.stat().st_mtime
    try:
        data_bytes = data_path.stat().st_size
    except FileNotFoundError:
        data_bytes = None
    if checkpoint is None:
        return Entry(step, problem, data_bytes, saved_s)
    return Entry(
        step,
        problem,
        data_bytes,
        saved_s,
        checkpoint.loss,
        held_out.get(step),
        checkpoint.weights_sha256,
    )


def _load(directory: RunDirectory, step: int) -> Checkpoint:
    """Load a checkpoint that is to stay.

    Raises:
        CheckpointCorrupt: it is damaged, or revoked.
    """
    checkpoint = directory.checkpoints.load(step)
    last = None
    with suppress(RunDirectoryError):  # the next start says what is wrong with the mark
        last = directory.last_unrevoked()
    if last is not None and step > last:
        data_path, _ = directory.checkpoints.paths(step)
        raise CheckpointCorrupt(
            f"expected step {last} or one before, got one that is revoked: a worker that"
            f" contributed has lied, and the next start removes it — {data_path}"
        )
    return checkpoint


def _gone(directory: RunDirectory, step: int) -> str:
    return (
        f"expected step {step} to stay, got it removed by the run, which goes on"
        f" — {directory.path}; gradflock checkpoint ls lists those that are there"
    )


def _finite(loss: float | None) -> float | None:
    """JSON has no NaN."""
    return loss if loss is not None and math.isfinite(loss) else None


def _moment(saved_s: float) -> str:
    return datetime.fromtimestamp(saved_s).astimezone().isoformat(timespec="seconds")
