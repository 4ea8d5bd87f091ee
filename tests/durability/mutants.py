"""Other recipes for a checkpoint, each wrong in one place: the enumeration must catch them all.

Prior art: Pillai et al. 2014 (OSDI), "All file systems are not created equal", where databases that
were thought to be safe did one or the other of these.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator import files, run_directory, store
from coordinator.checkpoint import Checkpoint, parse, serialise
from coordinator.metrics import Metrics
from coordinator.run_directory import REVOKED, RunDirectory
from coordinator.store import DATA, RECORD, CheckpointStore, Keep
from engine.config import canonical_json
from tests.durability import promises
from tests.durability.strace import KILLED, REFUSED

ONE = "newest"  # the name of the one file

Change = tuple[object, str, Callable[[Any], Any]]  # owner, attribute, original -> replacement


@dataclass(frozen=True, slots=True)
class Mutant:
    """A recipe.

    Attributes:
        bug: what is wrong, as a sentence.
        promise: which one breaks.
        changes: what it takes.
        life: in which it shows.
        cut: what has gone wrong before the power fails: what, and with the fsync of which file.
    """

    bug: str
    promise: str
    changes: tuple[Change, ...]
    life: str = "goes on"
    cut: tuple[str, str] | None = None

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in production code for a while."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, attribute, make in self.changes:
                patch.setattr(owner, attribute, make(vars(owner)[attribute]))
            yield


# ---- the bugs ------------------------------------------------------------------------------------


def _nothing(original: Any) -> Any:
    return lambda *_: None


def _without_fsync(part: str) -> Callable[[Any], Any]:
    """Of files with that in their names."""

    def make(original: Any) -> Any:
        return lambda path, data, mode: (
            path.write_bytes(data) if part in path.name else original(path, data, mode)
        )

    return make


def _believed(original: Any) -> Any:
    def load(step: int, record: dict[str, Any], data: bytes) -> Checkpoint:
        return replace(parse(data), contributors=record["contributors"])

    return load


def _record_later(original: Any) -> Any:
    waiting: list[tuple[Path, bytes]] = []

    def write(path: Path, data: bytes) -> None:
        if path.suffix == RECORD:
            waiting.append((path, data))
        else:
            while waiting:
                original(*waiting.pop())
            original(path, data)

    return write


def _record_first(original: Any) -> Any:
    waiting: list[tuple[Path, bytes]] = []

    def write(path: Path, data: bytes) -> None:
        if path.suffix == RECORD:
            original(path, data)
            original(*waiting.pop())
        else:
            waiting.append((path, data))

    return write


def _old_ones_first(original: Any) -> Any:
    def save(self: CheckpointStore, checkpoint: Checkpoint, keep: Keep) -> None:
        for step in self.steps():
            self._remove(step)
        original(self, checkpoint, Keep(newest=1))

    return save


def _rename_alone(original: Any) -> Any:
    def write(path: Path, data: bytes) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "sync_directory", _nothing(None))
            original(path, data)

    return write


def _tried_again(original: Any) -> Any:
    def renew(self: Metrics) -> None:
        self._is_doubtful = False
        self.flush()
        self.sync()

    return renew


def _mark_gone_first(original: Any) -> Any:
    def remove_after(self: RunDirectory, last: int) -> None:
        (self.path / REVOKED).unlink(missing_ok=True)
        original(self, last)

    return remove_after


# ---- one file with one name ----------------------------------------------------------------------


def _save_one(original: Any) -> Any:
    def save(self: CheckpointStore, checkpoint: Checkpoint, keep: Keep) -> None:
        data = (
            canonical_json(dict(checkpoint.contributors)).encode() + b"\n" + serialise(checkpoint)
        )
        files.write_durably(self.path / ONE, hashlib.sha256(data).digest() + data)

    return save


def _load_one(original: Any) -> Any:
    def newest(self: CheckpointStore) -> tuple[Checkpoint | None, list[str]]:
        with suppress(OSError):
            file = (self.path / ONE).read_bytes()
            digest, data = file[:32], file[32:]
            if hashlib.sha256(data).digest() == digest:
                contributors, _, rest = data.partition(b"\n")
                return replace(parse(rest), contributors=json.loads(contributors)), []
        return None, []

    return newest


def _in_place(original: Any) -> Any:
    def write(path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        files.sync_directory(path.parent)

    return write


ONE_FILE: tuple[Change, ...] = (
    (CheckpointStore, "save", _save_one),
    (CheckpointStore, "newest", _load_one),
)
UNSYNCED_DIRECTORIES: tuple[Change, ...] = tuple(
    (module, "sync_directory", _nothing) for module in (files, store, run_directory)
)

MUTANTS = {
    "files unsynced": Mutant(
        "Data and records are renamed before the disk has them.",
        promises.LOST,
        ((files, "_write_new", _without_fsync("step-")),),
    ),
    "records unsynced": Mutant(
        "A record is renamed before the disk has it.",
        promises.LOST,
        ((files, "_write_new", _without_fsync(RECORD)),),
    ),
    "nothing verified": Mutant(
        "Data is renamed before the disk has it, and believed.",
        promises.OTHER,
        (
            (files, "_write_new", _without_fsync(DATA)),
            (store, "_load", _believed),
        ),
    ),
    "directories unsynced": Mutant(
        "What was renamed may have its old name again.",
        promises.LOST,
        UNSYNCED_DIRECTORIES,
    ),
    "record later": Mutant(
        "A step is called durable when its data is.",
        promises.LOST,
        ((store, "write_durably", _record_later),),
    ),
    "record first": Mutant(
        "The record is there before the data that it speaks of.",
        promises.SPOILT,
        ((store, "write_durably", _record_first),),
    ),
    "old ones first": Mutant(
        "The one checkpoint that is kept is removed before the next is written.",
        promises.LOST,
        ((CheckpointStore, "save", _old_ones_first),),
    ),
    "one file in place": Mutant(
        "The checkpoint is written over the one before.",
        promises.LOST,
        (*ONE_FILE, (files, "write_durably", _in_place)),
    ),
    "one file unsynced": Mutant(
        "The one before is replaced by a file that the disk may not have.",
        promises.LOST,
        (*ONE_FILE, (files, "_write_new", _without_fsync(ONE))),
    ),
    "one file, directory unsynced": Mutant(
        "The one before may come back when its successor was called durable.",
        promises.LOST,
        (*ONE_FILE, *UNSYNCED_DIRECTORIES),
    ),
    "metrics unsynced": Mutant(
        "A step is durable before its line is.",
        promises.LINES,
        ((Metrics, "sync", _nothing),),
    ),
    "generation renamed alone": Mutant(
        "The count of starts may have its old value again.",
        promises.TWICE,
        ((run_directory, "write_durably", _rename_alone),),
    ),
    "mark gone first": Mutant(
        "The mark of what is revoked is removed before that is.",
        promises.REVOKED,
        ((RunDirectory, "_remove_after", _mark_gone_first),),
        life="goes back",
    ),
    "fsync tried again": Mutant(
        "After an fsync of metrics that failed, one that succeeds is believed.",
        promises.LINES,
        ((Metrics, "_renew", _tried_again),),
        cut=(REFUSED, "metrics.jsonl"),
    ),
    "names believed": Mutant(
        "What is found at the start is taken for durable, though its names may not be.",
        promises.LOST,
        ((run_directory, "sync_directory", _nothing),),
        cut=(KILLED, "checkpoints"),
    ),
}
