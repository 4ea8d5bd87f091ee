"""metrics.jsonl on a disk that refuses: nothing is lost, and no step waits."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from coordinator.metrics import Metrics
from tests.coordinator.disk import full_disk
from tests.coordinator.steps import committed, steps_in, written

pytestmark = pytest.mark.unit


def test_what_was_appended_can_be_made_durable(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.settle()
        metrics.sync()

    assert len((tmp_path / "m").read_text().splitlines()) == 1


@contextmanager
def doubtful(path: Path) -> Iterator[Metrics]:
    """Metrics of step 1, whose fsync was refused."""
    with Metrics(path, 0) as metrics:
        metrics.append(committed(1))
        metrics.settle()
        with pytest.MonkeyPatch.context() as disk:
            disk.setattr(os, "fsync", refuse)
            with pytest.raises(OSError, match="Input/output error"):
                metrics.sync()
        yield metrics


def refuse(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_after_an_fsync_that_failed_the_file_is_written_anew(tmp_path: Path) -> None:
    """The kernel may have dropped what it could not write, and the next fsync would not tell."""
    with doubtful(tmp_path / "m") as metrics:
        before = (tmp_path / "m").stat().st_ino
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()
        assert (tmp_path / "m").stat().st_ino != before
        now = (tmp_path / "m").stat().st_ino
        metrics.append(committed(3))
        metrics.settle()
        metrics.sync()
        assert (tmp_path / "m").stat().st_ino == now

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_a_file_that_is_written_anew_may_be_read_by_whoever_could_read_it(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        (tmp_path / "m").chmod(0o664)

        metrics.sync()

    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o664


def test_the_loop_leaves_a_doubtful_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with doubtful(tmp_path / "m") as metrics:
        monkeypatch.setattr(os, "fsync", refuse)
        before = (tmp_path / "m").stat()
        metrics.append(committed(2))
        metrics.flush()
        metrics.hold(3)
        metrics.append(committed(3))
        metrics.settle()

        after = (tmp_path / "m").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_doubtful_line_is_not_completed(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        metrics.go_back(1)
        metrics.hold(1)
        metrics.complete(1, 2.5)
        assert steps_in(tmp_path / "m") == [(1, -1)]
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]


def test_no_step_waits_while_the_file_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk takes seconds for it."""
    has_begun, may_end = Event(), Event()

    def be_slow(_descriptor: int) -> None:
        has_begun.set()
        assert may_end.wait(60)

    with doubtful(tmp_path / "m") as metrics:
        metrics.append(committed(2))
        metrics.settle()
        monkeypatch.setattr(os, "fsync", be_slow)
        saving = Thread(target=metrics.sync)
        saving.start()
        assert has_begun.wait(60)
        for step in (3, 4):
            metrics.append(committed(step))
            metrics.flush()
        metrics.hold(5)
        metrics.append(committed(5))
        metrics.settle()
        metrics.append(committed(6))
        metrics.flush()
        may_end.set()
        saving.join()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]
        metrics.append(committed(7))
        metrics.flush()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3, 4, 5, 6, 7)


def test_a_new_file_that_there_is_no_room_for_is_tried_again(tmp_path: Path) -> None:
    with doubtful(tmp_path / "m") as metrics:
        metrics.append(committed(2))
        metrics.settle()
        with full_disk(), pytest.raises(OSError, match="large"):
            metrics.sync()
        assert steps_in(tmp_path / "m") == [(1, -1)]
        metrics.append(committed(3))
        metrics.settle()
        metrics.sync()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_a_run_that_goes_back_in_a_doubtful_file_leaves_nothing_of_what_was_undone(
    tmp_path: Path,
) -> None:
    with doubtful(tmp_path / "m") as metrics:
        for step in (2, 3):
            metrics.append(committed(step))
        metrics.settle()
        metrics.go_back(1)
        metrics.append(committed(2))
        metrics.settle()
        metrics.sync()

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2)


def test_a_full_disk_keeps_lines_waiting_and_settle_says_so(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        with full_disk():
            metrics.append(committed(1))
            metrics.flush()
            metrics.append(committed(2))
            metrics.flush()
            with pytest.raises(OSError, match="large"):
                metrics.settle()
        metrics.append(committed(3))

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2, 3)


def test_lines_that_a_crash_of_the_machine_took_are_missed_and_the_others_stay(
    tmp_path: Path,
) -> None:
    text = written(tmp_path / "m", 1, 2, 5, 6)

    with Metrics(tmp_path / "m", 6):
        pass

    assert (tmp_path / "m").read_text() == text


def test_bytes_that_are_no_text_are_forgotten(tmp_path: Path) -> None:
    first = written(tmp_path / "m", 1)
    (tmp_path / "m").write_bytes(first.encode() + b"\xff\xfe\x00")

    with Metrics(tmp_path / "m", 1):
        pass

    assert (tmp_path / "m").read_text() == first
