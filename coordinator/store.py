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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coordinator.checkpoint import FORMAT, Checkpoint, parse, serialise
from coordinator.errors import CheckpointCorrupt, CheckpointUnwritable
from coordinator.files import TEMPORARY, sync_directory, write_durably
from engine.config import canonical_json

DATA, RECORD = ".safetensors", ".json"
RECORD_SHA256 = "record_sha256"  # in a record: of its other fields, as canonical JSON
STAYS = "stays"  # in a record: no later save removes this step; earlier versions did not say
ASIDE = ".bad"  # added to the names of what was not valid

FIELDS = {"step": int, "bytes": int, "sha256": str, "weights_sha256": str, "run": str}


@dataclass(frozen=True, slots=True)
class Keep:
    """Which checkpoints stay when another is durable.

    Attributes:
        newest: so many of the newest.
        every: also the first of every so many steps; None keeps no others. One that was the first
            when it was saved stays for ever: its record says so.
    """

    newest: int = 3
    every: int | None = None

    def of(self, steps: Collection[int]) -> set[int]:
        """Give those of some steps that stay, whatever their records say."""
        return {*sorted(steps)[-self.newest :], *self.firsts(steps)}

    def firsts(self, steps: Collection[int]) -> set[int]:
        """Give the first of every so many steps."""
        firsts: dict[int, int] = {}
        if self.every is not None:
            for step in sorted(steps):
                firsts.setdefault(step // self.every, step)
        return set(firsts.values())


KEEP = Keep()


class CheckpointStore:
    """One run's checkpoints. Reading needs no lock; who writes holds that of the run directory.

    Attributes:
        holding: entered while checkpoints are saved; raises CheckpointUnwritable once the directory
            is no longer that of who holds the lock, and who takes the lock sets it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holding: Callable[[], AbstractContextManager[None]] = nullcontext
        self._staying: set[int] = set()  # whose records were read, and say so

    def steps(self) -> list[int]:
        """Give the steps that have a commit record, newest first."""
        try:  # not by glob, to which a directory that cannot be read is an empty one
            with os.scandir(self.path) as found:
                records = [
                    entry.name.removesuffix(RECORD)
                    for entry in found
                    if entry.name.endswith(RECORD) and entry.is_file()
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        steps = (_step_of(stem) for stem in records)
        return sorted((step for step in steps if step is not None), reverse=True)

    def newest(
        self, load: Callable[[int], Checkpoint] | None = None
    ) -> tuple[Checkpoint | None, list[str]]:
        """Load the newest valid checkpoint; also say which newer ones were passed over, and why.

        Args:
            load: used instead of our own, by who knows more reasons for CheckpointCorrupt.
        """
        load = load or self.load
        while True:
            complaints: list[str] = []
            for step in self.steps():
                try:
                    return load(step), complaints
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
        record = self.record(step)
        data_path, _ = self.paths(step)
        with _named(data_path, "a checkpoint"):
            return _load(step, record, data_path.read_bytes())

    def record(self, step: int) -> dict[str, Any]:
        """Read one commit record.

        Raises:
            CheckpointCorrupt: there is none, or it is not one that was written.
        """
        _, record_path = self.paths(step)
        with _named(record_path, "a commit record"):
            return _read_record(record_path.read_bytes())

    def holds(self, step: int, weights_sha256: str) -> bool:
        """Say whether a step is there with such parameters, as far as its commit record knows."""
        try:
            return bool(self.record(step)["weights_sha256"] == weights_sha256)
        except CheckpointCorrupt:
            return False

    def save(self, checkpoint: Checkpoint, keep: Keep = KEEP) -> None:
        """Make a checkpoint durable, then forget those that need not stay.

        Raises:
            CheckpointUnwritable: the disk refused; earlier checkpoints are untouched.
        """
        with self.holding():
            self._commit(checkpoint, keep)
            with suppress(OSError):  # the step is durable; what stays too long goes next time
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
            is_alone = path.suffix == DATA and _step_of(path.stem) not in (None, *steps)
            if (path.suffix == TEMPORARY or is_alone) and not path.is_dir():
                path.unlink()

    def paths(self, step: int) -> tuple[Path, Path]:
        """Give where a step's data and its commit record are, or would be."""
        stem = self.path / f"step-{step:08d}"
        return stem.with_suffix(DATA), stem.with_suffix(RECORD)

    def _commit(self, checkpoint: Checkpoint, keep: Keep) -> None:
        step = checkpoint.step
        data_path, record_path = self.paths(step)
        data = serialise(checkpoint)
        try:
            earlier = [one for one in self.steps() if one < step]
            stays = step in keep.firsts([*earlier, step])
            record = _record(checkpoint, data, earlier[0] if earlier else None, stays)
            self._staying.discard(step)
            write_durably(data_path, data)
            write_durably(record_path, canonical_json(record).encode())
        except OSError as error:
            with suppress(OSError):
                if not record_path.exists():  # data without a record is nobody's
                    data_path.unlink(missing_ok=True)
            raise CheckpointUnwritable(
                f"expected to save step {step}, got {error.strerror or error} — {data_path}"
            ) from None

    def _prune(self, newest: int, keep: Keep) -> None:
        steps = [step for step in self.steps() if step <= newest]
        kept = keep.of(steps)
        leaving = [one for one in reversed(steps) if one not in kept and not self._is_staying(one)]
        for step in leaving:
            with suppress(OSError):  # one that cannot go is no reason for the others to stay
                self._remove(step)
        if leaving:
            sync_directory(self.path)

    def _is_staying(self, step: int) -> bool:
        """Say whether a step was saved to stay; a record that says so is read once."""
        if step in self._staying:
            return True
        _, record_path = self.paths(step)
        try:
            stays = _read_record(record_path.read_bytes()).get(STAYS, False)
        except CheckpointCorrupt:
            return False
        except OSError:
            return True  # as far as can be known
        if stays:
            self._staying.add(step)
        return bool(stays)

    def _remove(self, step: int) -> None:
        data_path, record_path = self.paths(step)
        record_path.unlink()
        data_path.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, expected: str) -> Iterator[None]:
    """Have whatever is wrong with a file name it."""
    try:
        yield
    except CheckpointCorrupt as error:
        raise CheckpointCorrupt(f"{error} — {path}") from None
    except OSError as error:
        raise CheckpointCorrupt(f"expected {expected}, got {error.strerror} — {path}") from None


def _step_of(stem: str) -> int | None:
    match = re.fullmatch(r"step-(\d{8,})", stem, re.ASCII)
    return int(match[1]) if match else None


def _record(
    checkpoint: Checkpoint, data: bytes, previous: int | None, stays: bool
) -> dict[str, object]:
    record = {
        "format": FORMAT,
        "step": checkpoint.step,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "weights_sha256": checkpoint.weights_sha256,
        "run": checkpoint.run,
        "previous": previous,
        "contributors": dict(checkpoint.contributors),
        STAYS: stays,
    }
    return {**record, RECORD_SHA256: _sha256(record)}


def _read_record(file: bytes) -> dict[str, Any]:
    """Read what `_record` gave.

    Raises:
        CheckpointCorrupt: it did not give that.
    """
    try:
        record = json.loads(file)
        if not isinstance(record, dict):
            raise CheckpointCorrupt(f"expected a commit record, got {_shortened(record)}")
        expected = record.pop(RECORD_SHA256, None)  # records of earlier versions have none
        found = _sha256(record)
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"expected a commit record, got no JSON: {error}") from None
    if expected not in (None, found):
        raise CheckpointCorrupt(f"expected a record with sha256 {expected}, got {found}")
    for name, kind in FIELDS.items():
        if type(value := record.get(name)) is not kind:
            said = "none" if value is None else _shortened(value)
            raise CheckpointCorrupt(f"expected a commit record with {name}, got {said}")
    contributors = record.get("contributors", {})
    if not isinstance(contributors, dict) or {*map(type, contributors.values())} - {int}:
        raise CheckpointCorrupt(
            f"expected the first step of each contributor, got {_shortened(contributors)}"
        )
    return record


def _shortened(value: object) -> str:
    return f"{value!r:.40}"


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
    return replace(checkpoint, contributors=record.get("contributors", {}))
