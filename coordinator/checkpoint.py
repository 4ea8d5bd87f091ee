"""Checkpoints on disk: everything that a run needs to go on, or to be sampled.

    RUN/checkpoints/step-00000123.safetensors   parameters, Adam's m and v, metadata
    RUN/checkpoints/step-00000123.json          the commit record, written last

Each file is written under another name in the same directory, fsynced, renamed, and the directory
fsynced. The record is the commit: a step without a valid one does not exist. There is no pointer
to the newest; the newest valid record is the newest checkpoint, and nothing can disagree with it.

Source: Pillai et al. 2014 (OSDI), "All file systems are not created equal", on what a rename
    without fsync may lose; the safetensors format.
"""

import fcntl
import hashlib
import json
import math
import os
import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from coordinator.errors import (
    CheckpointCorrupt,
    CheckpointUnwritable,
    RunDirectoryError,
    RunDirectoryHeld,
)
from engine.config import ModelConfig, TrainConfig, canonical_json
from engine.errors import EngineError
from engine.optimizer import Moments
from engine.params import Flat, layout_of, params_digest, to_bytes

FORMAT = 1
KEEP = 3  # newest checkpoints that stay
DATA, RECORD = ".safetensors", ".json"
REVOKED = "REVOKED"  # holds the last step whose checkpoint is right, while later ones are removed
GROUPS = ("", "adam.m.", "adam.v.")  # prefixes of the tensor names


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """Which documents a run trains on: `names`, `bundled` or a path; how many; their sha256."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after `step` updates.

    Attributes:
        loss: of the last update, nats; None at step 0.
        characters: the vocabulary without BOS, in the order of its ids.
        rng_state: of the run's generator, where sampling goes on.
        contributors: worker -> the first step, counted from 0, that its answer was counted in.
        has_exact_numerics: every worker had the coordinator's own arithmetic.
    """

    run: str
    step: int
    loss: float | None
    model: ModelConfig
    train: TrainConfig
    dataset: DatasetRecord
    characters: str
    rng_state: tuple[Any, ...]
    params: Flat
    moments: Moments
    contributors: Mapping[str, int] = field(default_factory=dict)
    has_exact_numerics: bool = True

    @property
    def weights_sha256(self) -> str:
        return params_digest(to_bytes(self.params))


class RunDirectory:
    """One run's files. Reading needs no lock; a coordinator takes it before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and hold it for this process.

        Raises:
            RunDirectoryHeld: another coordinator holds it.
            RunDirectoryError: it cannot be made or written to.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            _sync_directory(self.path)
            _sync_directory(self.path.parent)
            descriptor = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunDirectoryError(
                f"expected a directory to write to, got {error.strerror}"
                f" — {self.path}; give another --run-dir"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
                raise RunDirectoryHeld(
                    f"expected a run directory of our own, got one that process {holder} trains in"
                    f" — {self.path}; give another --run-dir or stop that process"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            self._tidy()
            yield
        finally:
            os.close(descriptor)

    def next_generation(self) -> int:
        """Count one more coordinator start, durably, and give the count.

        Raises:
            RunDirectoryError: the file holds something else.
            CheckpointUnwritable: the disk refuses.
        """
        path = self.path / "GENERATION"
        count = path.read_text() if path.exists() else "0"
        if not count.isdecimal():
            raise RunDirectoryError(
                f"expected the number of this run's starts, got {count[:20]!r} — {path};"
                " write a number above every one it had"
            )
        generation = 1 + int(count)
        try:
            _write_durably(path, str(generation).encode())
        except OSError as error:
            raise CheckpointUnwritable(
                f"expected to count this start, got {error.strerror} — {path}; make room"
            ) from None
        return generation

    def steps(self) -> list[int]:
        """Give the steps that have a commit record, newest first."""
        found = [_step_of(path) for path in self.checkpoints.glob(f"step-*{RECORD}")]
        return sorted((step for step in found if step is not None), reverse=True)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Load the newest valid checkpoint; also say which newer ones were passed over, and why."""
        complaints: list[str] = []
        for step in self.steps():
            try:
                return self.load(step), complaints
            except CheckpointCorrupt as error:
                complaints.append(str(error))
        return None, complaints

    def load(self, step: int) -> Checkpoint:
        """Read one checkpoint.

        Raises:
            CheckpointCorrupt: its bytes are not those that were committed.
        """
        data_path, record_path = self._paths(step)
        try:
            record = json.loads(record_path.read_bytes())
            data = data_path.read_bytes()
            expected, found = record["sha256"], hashlib.sha256(data).hexdigest()
            if len(data) != record["bytes"] or expected != found:
                raise CheckpointCorrupt(
                    f"expected {record['bytes']} bytes with sha256 {expected}, got {len(data)}"
                    f" with {found} — {data_path}"
                )
            checkpoint = _parse(data)
            described = (step, record["step"], record["run"], record["weights_sha256"])
            found_in = (checkpoint.step, step, checkpoint.run, checkpoint.weights_sha256)
            if described != found_in:
                raise CheckpointCorrupt(
                    f"expected step, run and weights {described}, got {found_in} — {data_path}"
                )
            said = dict(record.get("contributors", {}))
            contributors = {str(name): int(first) for name, first in said.items()}
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointCorrupt(
                f"expected a checkpoint, got {type(error).__name__}: {error} — {data_path}"
            ) from None
        return replace(checkpoint, contributors=contributors)

    def revoke(self, step: int) -> None:
        """Remove every checkpoint after a step; what a crash leaves of them, the next lock removes.

        Raises:
            CheckpointUnwritable: the disk refuses.
        """
        with suppress(OSError):  # where there is no room for the mark, files can still be removed
            _write_durably(self.path / REVOKED, str(step).encode())
        try:
            self._remove_after(step)
        except OSError as error:
            raise CheckpointUnwritable(
                f"expected to remove checkpoints after step {step}, got {error.strerror or error}"
                f" — {self.checkpoints}; they may be wrong: remove them before --resume"
            ) from None

    def save(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable, then forget all but the newest few.

        Raises:
            CheckpointUnwritable: the disk refused; earlier checkpoints are untouched.
        """
        data_path, record_path = self._paths(checkpoint.step)
        data = _serialise(checkpoint)
        previous = next((step for step in self.steps() if step < checkpoint.step), None)
        record = {
            "format": FORMAT,
            "step": checkpoint.step,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "weights_sha256": checkpoint.weights_sha256,
            "run": checkpoint.run,
            "previous": previous,
            "contributors": dict(checkpoint.contributors),
        }
        try:
            _write_durably(data_path, data)
            _write_durably(record_path, canonical_json(record).encode())
        except OSError as error:
            with suppress(OSError):
                if not record_path.exists():  # data without a record is nobody's
                    data_path.unlink(missing_ok=True)
            raise CheckpointUnwritable(
                f"expected to save step {checkpoint.step}, got {error.strerror or error}"
                f" — {data_path}"
            ) from None
        with suppress(OSError):  # the step is durable; what stays too long goes with the next one
            self._prune()

    def _tidy(self) -> None:
        try:
            self._remove_revoked()
            self._remove_leftovers()
        except OSError as error:
            raise RunDirectoryError(
                f"expected to remove what is left of an earlier run, got {error.strerror}"
                f" — {self.checkpoints}; make it writable"
            ) from None

    def _remove_leftovers(self) -> None:
        """Remove what a save that did not end has left: temporary files, data without a record."""
        steps = self.steps()
        for path in self.checkpoints.iterdir():
            is_alone = path.suffix == DATA and _step_of(path) not in (None, *steps)
            if path.suffix == ".tmp" or is_alone:
                path.unlink()

    def _remove_revoked(self) -> None:
        mark = self.path / REVOKED
        if not mark.exists():
            return
        last = mark.read_text()
        if not last.isdecimal():
            raise RunDirectoryError(
                f"expected the last step that is not revoked, got {last[:20]!r} — {mark};"
                " write the step after which checkpoints are wrong"
            )
        self._remove_after(int(last))

    def _remove_after(self, last: int) -> None:
        for step in self.steps():
            if step > last:
                self._remove(step)
        _sync_directory(self.checkpoints)
        (self.path / REVOKED).unlink(missing_ok=True)
        _sync_directory(self.path)

    def _paths(self, step: int) -> tuple[Path, Path]:
        stem = self.checkpoints / f"step-{step:08d}"
        return stem.with_suffix(DATA), stem.with_suffix(RECORD)

    def _prune(self) -> None:
        for step in self.steps()[KEEP:]:
            self._remove(step)

    def _remove(self, step: int) -> None:
        data_path, record_path = self._paths(step)
        record_path.unlink()
        data_path.unlink(missing_ok=True)


def _step_of(path: Path) -> int | None:
    match = re.fullmatch(r"step-(\d{8,})", path.stem, re.ASCII)
    return int(match[1]) if match else None


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _serialise(checkpoint: Checkpoint) -> bytes:
    vectors = (checkpoint.params, checkpoint.moments.m, checkpoint.moments.v)
    tensors = {}
    for group, vector in zip(GROUPS, vectors, strict=True):
        flat = np.frombuffer(to_bytes(vector), dtype="<f8")
        for matrix in layout_of(checkpoint.model):
            size = matrix.rows * matrix.columns
            rows = flat[matrix.offset : matrix.offset + size].reshape(matrix.rows, matrix.columns)
            tensors[group + matrix.name] = rows
    facts = {
        "format": FORMAT,
        "run": checkpoint.run,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "model": asdict(checkpoint.model),
        "train": asdict(checkpoint.train),
        "dataset": asdict(checkpoint.dataset),
        "characters": checkpoint.characters,
        "rng_state": checkpoint.rng_state,
        "has_exact_numerics": checkpoint.has_exact_numerics,
    }
    # One key: the writer orders several at random, and a file's bytes should not be chance.
    return safetensors.numpy.save(tensors, metadata={"gradflock": canonical_json(facts)})


def _parse(data: bytes) -> Checkpoint:
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    facts = json.loads(header["__metadata__"]["gradflock"])
    if facts["format"] != FORMAT:
        raise CheckpointCorrupt(
            f"expected checkpoint format {FORMAT}, got {facts['format']!r}; use a newer gradflock"
        )
    try:
        model, train = ModelConfig(**facts["model"]), TrainConfig(**facts["train"])
    except EngineError as error:
        raise CheckpointCorrupt(str(error)) from None
    tensors = safetensors.numpy.load(data)
    vectors = []
    for group in GROUPS:
        flat = array("d")
        for matrix in layout_of(model):
            rows = tensors[group + matrix.name]
            if rows.shape != (matrix.rows, matrix.columns) or rows.dtype != np.float64:
                raise CheckpointCorrupt(
                    f"expected float64 ({matrix.rows}, {matrix.columns}), got {rows.dtype}"
                    f" {rows.shape} — tensor {group + matrix.name}"
                )
            flat.frombytes(rows.tobytes())
        if not all(map(math.isfinite, flat)):
            raise CheckpointCorrupt(f"expected finite values, got others — tensors {group}*")
        vectors.append(flat)
    version, internal, gauss = facts["rng_state"]
    return Checkpoint(
        run=facts["run"],
        step=facts["step"],
        loss=facts["loss"],
        model=model,
        train=train,
        dataset=DatasetRecord(**facts["dataset"]),
        characters=facts["characters"],
        rng_state=(version, tuple(internal), gauss),
        params=vectors[0],
        moments=Moments(vectors[1], vectors[2]),
        has_exact_numerics=facts.get("has_exact_numerics", True),
    )
