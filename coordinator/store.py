"""The checkpoints of a run, on disk.

    RUN/checkpoints/step-00000123.safetensors   parameters, Adam's m and v, metadata
    RUN/checkpoints/step-00000123.json          the commit record, written last

The record is the commit: a step without a valid one does not exist. There is no pointer to the
newest; the newest valid record is the newest checkpoint, and nothing can disagree with it. A step
is *durable* when `save` has returned. No name is used twice: what was found to be wrong is set
aside under another before its step is saved again.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coordinator.checkpoint import FORMAT, Checkpoint, parse, serialise
from coordinator.errors import CheckpointCorrupt, CheckpointUnwritable
from coordinator.files import TEMPORARY, sync_directory, write_durably
from engine.config import canonical_json

DATA, RECORD = ".safetensors", ".json"
RECORD_SHA256 = "record_sha256"  # in a record: of its other fields, as canonical JSON
ASIDE = ".bad"  # added to the names of what was not valid


@dataclass(frozen=True, slots=True)
class Keep:
    """Which checkpoints stay when another is durable.

    Attributes:
        newest: so many of the newest.
        every: also the first of every so many steps, for ever; None keeps no others.
    """

    newest: int = 3
    every: int | None = None

    def of(self, steps: Collection[int]) -> set[int]:
        """Give those of some steps that stay."""
        ascending = sorted(steps)
        kept = set(ascending[-self.newest :])
        if self.every is not None:
            firsts: dict[int, int] = {}
            for step in ascending:
                firsts.setdefault(step // self.every, step)
            kept |= set(firsts.values())
        return kept


KEEP = Keep()


class CheckpointStore:
    """One run's checkpoints. Reading needs no lock; who writes holds that of the run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def steps(self) -> list[int]:
        """Give the steps that have a commit record, newest first."""
        try:  # not by glob, to which a directory that cannot be read is an empty one
            paths = [path for path in self.path.iterdir() if path.suffix == RECORD]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            (step for path in paths if (step := _step_of(path)) is not None), reverse=True
        )

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Load the newest valid checkpoint; also say which newer ones were passed over, and why."""
        while True:
            complaints: list[str] = []
            for step in self.steps():
                try:
                    return self.load(step), complaints
                except CheckpointCorrupt as error:
                    if step not in self.steps():
                        break  # it was removed meanwhile, since newer ones have come: look again
                    complaints.append(str(error))
            else:
                return None, complaints

    def load(self, step: int) -> Checkpoint:
        """Read one checkpoint.

        Raises:
            CheckpointCorrupt: its bytes are not those that were committed.
        """
        data_path, record_path = self.paths(step)
        path = record_path  # that is being read
        try:
            record = _read_record(record_path.read_bytes())
            path = data_path
            return _load(step, record, data_path.read_bytes())
        except CheckpointCorrupt as error:
            raise CheckpointCorrupt(f"{error} — {path}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
            raise CheckpointCorrupt(
                f"expected a checkpoint, got {type(error).__name__}: {error} — {path}"
            ) from None

    def save(self, checkpoint: Checkpoint, keep: Keep = KEEP) -> None:
        """Make a checkpoint durable, then forget those that need not stay.

        Raises:
            CheckpointUnwritable: the disk refused; earlier checkpoints are untouched.
        """
        data_path, record_path = self.paths(checkpoint.step)
        data = serialise(checkpoint)
        try:
            previous = next((step for step in self.steps() if step < checkpoint.step), None)
            record = _record(checkpoint, data, previous)
            write_durably(data_path, data)
            write_durably(record_path, canonical_json(record).encode())
        except OSError as error:
            with suppress(OSError):
                if not record_path.exists():  # data without a record is nobody's
                    data_path.unlink(missing_ok=True)
            raise CheckpointUnwritable(
                f"expected to save step {checkpoint.step}, got {error.strerror or error}"
                f" — {data_path}"
            ) from None
        with suppress(OSError):  # the step is durable; what stays too long goes with the next one
            self._prune(checkpoint.step, keep)

    def set_aside_after(self, last: int) -> None:
        """Give checkpoints of later steps, which were passed over, names that no save will use.

        Raises:
            CheckpointUnwritable: the disk refuses.
        """
        steps = [step for step in self.steps() if step > last]
        try:
            for path in (path for step in steps for path in reversed(self.paths(step))):
                with suppress(FileNotFoundError):
                    os.rename(path, path.with_name(path.name + ASIDE))
            if steps:
                sync_directory(self.path)
        except OSError as error:
            raise CheckpointUnwritable(
                f"expected to rename checkpoints after step {last}, which are not valid, got"
                f" {error.strerror} — {self.path}; make it writable"
            ) from None

    def remove_after(self, last: int) -> None:
        """Remove every checkpoint of a later step."""
        for step in self.steps():
            if step > last:
                self._remove(step)
        sync_directory(self.path)

    def tidy(self) -> None:
        """Remove what a save that did not end has left: temporary files, data without a record."""
        steps = self.steps()
        for path in self.path.iterdir():
            is_alone = path.suffix == DATA and _step_of(path) not in (None, *steps)
            if path.suffix == TEMPORARY or is_alone:
                path.unlink()

    def paths(self, step: int) -> tuple[Path, Path]:
        """Give where a step's data and its commit record are, or would be."""
        stem = self.path / f"step-{step:08d}"
        return stem.with_suffix(DATA), stem.with_suffix(RECORD)

    def _prune(self, newest: int, keep: Keep) -> None:
        steps = [step for step in self.steps() if step <= newest]
        kept = keep.of(steps)
        for step in reversed(steps):
            if step not in kept:
                self._remove(step)
        if len(kept) < len(steps):
            sync_directory(self.path)

    def _remove(self, step: int) -> None:
        data_path, record_path = self.paths(step)
        record_path.unlink()
        data_path.unlink(missing_ok=True)


def _step_of(path: Path) -> int | None:
    match = re.fullmatch(r"step-(\d{8,})", path.stem, re.ASCII)
    return int(match[1]) if match else None


def _record(checkpoint: Checkpoint, data: bytes, previous: int | None) -> dict[str, object]:
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
    return {**record, RECORD_SHA256: _sha256(record)}


def _read_record(file: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(file)
    expected = record.pop(RECORD_SHA256, None)  # records of earlier versions have none
    if expected is not None and expected != (found := _sha256(record)):
        raise CheckpointCorrupt(f"expected a record with sha256 {expected}, got {found}")
    return record


def _sha256(record: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()


def _load(step: int, record: Mapping[str, Any], data: bytes) -> Checkpoint:
    expected, found = record["sha256"], hashlib.sha256(data).hexdigest()
    if len(data) != record["bytes"] or expected != found:
        raise CheckpointCorrupt(
            f"expected {record['bytes']} bytes with sha256 {expected}, got {len(data)} with {found}"
        )
    checkpoint = parse(data)
    described = (step, record["step"], record["run"], record["weights_sha256"])
    found_in = (checkpoint.step, step, checkpoint.run, checkpoint.weights_sha256)
    if described != found_in:
        raise CheckpointCorrupt(f"expected step, run and weights {described}, got {found_in}")
    said = dict(record.get("contributors", {}))
    return replace(checkpoint, contributors={str(name): int(first) for name, first in said.items()})
