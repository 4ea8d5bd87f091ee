"""A disk that refuses once, or does not answer: what is not known is not taken for nothing."""

import errno
import os
import stat
from pathlib import Path

import pytest

from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from tests.durability.lives import Coordinator, line_of

pytestmark = pytest.mark.unit


def refuse(descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def refuse_directories(descriptor: int) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        refuse(descriptor)


def steps_in(path: Path) -> list[str]:
    return [line.partition(",")[0] for line in path.read_text().splitlines()]


def test_lines_outlive_a_copy_of_them_that_was_refused_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has the file's name already, and what is open is the old one."""
    with Metrics(tmp_path / "metrics.jsonl", 0) as metrics:
        metrics.append(line_of(1))
        metrics.settle()
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            metrics.sync()
        metrics.append(line_of(2))
        metrics.settle()
        monkeypatch.setattr(os, "fsync", refuse_directories)
        with pytest.raises(OSError, match="Input/output error"):
            metrics.sync()
        assert steps_in(tmp_path / "metrics.jsonl") == [f'{{"step": {step}' for step in (1, 2)]
        metrics.append(line_of(3))
        metrics.flush()
        monkeypatch.undo()

        metrics.append(line_of(4))
        metrics.settle()
        metrics.sync()

    assert steps_in(tmp_path / "metrics.jsonl") == [f'{{"step": {step}' for step in (1, 2, 3, 4)]


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """A coordinator that finds no records removes data without a record."""
    directory = RunDirectory(tmp_path)
    directory.checkpoints.path.symlink_to(directory.checkpoints.path)

    with pytest.raises(OSError, match="symbolic links"):
        directory.checkpoints.newest()


def test_half_written_files_of_a_coordinator_that_died_are_removed_by_the_next(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        Coordinator(directory, lambda *_: None).metrics.__exit__()
    for name in ("GENERATION", "REVOKED", "metrics.jsonl", "sampler.address"):
        (directory.path / f".{name}.tmp").write_text("half")

    with directory.lock():
        pass

    assert [path.name for path in directory.path.glob(".*")] == [".sampler.address.tmp"]
