"""One run's directory: held by one, counted, and free of what was revoked."""

import errno
import fcntl
import os
import shutil
import socket
from pathlib import Path
from threading import Event, Thread

import pytest

from coordinator.errors import CheckpointUnwritable, RunDirectoryError, RunDirectoryHeld
from coordinator.run_directory import RunDirectory
from tests.coordinator.calls import recorded
from tests.coordinator.disk import full_disk
from tests.coordinator.stored import checkpoint, data_file, directory, record_file

pytestmark = pytest.mark.unit


# ---- lock and generation ------------------------------------------------------------------------


def test_a_run_directory_is_made_and_held(tmp_path: Path) -> None:
    made = RunDirectory(tmp_path / "a" / "b")

    with made.lock():
        assert made.checkpoints.path.is_dir()
        other = RunDirectory(tmp_path / "a" / "b")
        expected = f"process {os.getpid()} on {socket.gethostname()} trains in"
        with pytest.raises(RunDirectoryHeld, match=expected), other.lock():
            pass


def test_a_lock_without_a_name_is_still_held(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (made.path / "LOCK").write_text("")
    descriptor = os.open(made.path / "LOCK", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(RunDirectoryHeld, match="process unknown trains in"), made.lock():
        pass
    os.close(descriptor)


def test_a_run_directory_is_free_again_after_its_process_has_left(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (made.path / "LOCK").write_text("4194304 and more than one process was ever called")

    with made.lock():
        assert (made.path / "LOCK").read_text() == f"{os.getpid()} on {socket.gethostname()}"


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    (made.checkpoints.path / ".step-00000004.safetensors.tmp").write_text("half")
    data_file(made, 4).write_text("data without a record")

    with made.lock():
        pass

    assert sorted(made.checkpoints.path.iterdir()) == [record_file(made, 3), data_file(made, 3)]


def test_a_run_directory_that_was_replaced_is_not_saved_to(tmp_path: Path) -> None:
    """Saves go by path; whoever trains there now is to lose nothing."""
    made = RunDirectory(tmp_path / "run")
    with made.lock():
        made.checkpoints.save(checkpoint(3))
        shutil.rmtree(made.path)
        other = directory(tmp_path, 1, 2, 5)
        before = sorted(path.name for path in made.path.rglob("*"))

        for change in (lambda: made.checkpoints.save(checkpoint(9)), lambda: made.revoke(1)):
            with pytest.raises(CheckpointUnwritable) as refusal:
                change()

            assert str(refusal.value) == (
                f"expected to hold the run directory, got it replaced — {made.path / 'LOCK'};"
                " another coordinator may train there: stop this one"
            )
        assert sorted(path.name for path in made.path.rglob("*")) == before
        assert other.checkpoints.steps() == [5, 2, 1]


def test_a_run_directory_that_is_gone_is_not_made_again_by_a_save(tmp_path: Path) -> None:
    made = RunDirectory(tmp_path / "run")
    with made.lock():
        shutil.rmtree(made.path)

        with pytest.raises(CheckpointUnwritable, match="got it removed"):
            made.checkpoints.save(checkpoint(9))

    assert not made.path.exists()


def test_a_lock_that_was_replaced_before_it_was_held_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path)
    flock = fcntl.flock

    def replaced(descriptor: int, operation: int) -> None:
        (made.path / "LOCK").unlink()
        (made.path / "LOCK").touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replaced)

    with pytest.raises(RunDirectoryError, match="got it replaced"), made.lock():
        pass


def test_a_save_that_does_not_end_holds_the_directory_as_long_as_the_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = RunDirectory(tmp_path / "run")
    is_begun, may_end = Event(), Event()
    fsync = os.fsync

    def hang(descriptor: int) -> None:
        is_begun.set()
        may_end.wait()
        fsync(descriptor)

    thread = Thread(target=lambda: made.checkpoints.save(checkpoint(3)), daemon=True)
    with made.lock():
        monkeypatch.setattr(os, "fsync", hang)
        thread.start()
        is_begun.wait()
        monkeypatch.setattr(os, "fsync", fsync)

    try:
        with pytest.raises(RunDirectoryHeld), RunDirectory(made.path).lock():
            pass
    finally:
        may_end.set()
        thread.join()
    assert made.checkpoints.steps() == [3]


def test_a_save_that_begins_after_the_directory_was_given_back_is_refused(tmp_path: Path) -> None:
    made = RunDirectory(tmp_path / "run")
    with made.lock():
        pass

    with pytest.raises(CheckpointUnwritable, match="expected to hold the run directory, got it fr"):
        made.checkpoints.save(checkpoint(3))

    assert made.checkpoints.steps() == []


def test_a_full_disk_that_has_no_room_for_the_holders_name_does_not_keep_it_out(
    tmp_path: Path,
) -> None:
    made = directory(tmp_path)
    (made.path / "LOCK").unlink()

    with full_disk(0), made.lock():
        assert (made.path / "LOCK").read_text() == ""


def test_a_lock_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path)

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)

    with pytest.raises(RunDirectoryError, match=r"got No locks available — .*LOCK"), made.lock():
        pass


@pytest.mark.parametrize("in_the_way", ["run", "run/checkpoints"])
def test_a_file_in_place_of_a_run_directory_is_refused(tmp_path: Path, in_the_way: str) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(exist_ok=True)
    path.write_text("")

    made = RunDirectory(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="to write to") as refusal, made.lock():
        pass

    assert str(tmp_path / "run") in str(refusal.value)


def test_every_start_is_another_generation(tmp_path: Path) -> None:
    made = directory(tmp_path)

    assert [made.next_generation() for _ in range(3)] == [1, 2, 3]
    assert RunDirectory(made.path).next_generation() == 4


def test_a_count_that_a_person_has_written_is_counted_on(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (made.path / "GENERATION").write_bytes(b" 9\r\n")

    assert made.next_generation() == 10


@pytest.mark.parametrize("text", [b"", b"three", b"-1", b"1.5", b"\xff\xfe9", b"9" * 5000])
def test_a_count_of_generations_that_is_none_is_named(tmp_path: Path, text: bytes) -> None:
    made = directory(tmp_path)
    (made.path / "GENERATION").write_bytes(text)

    with pytest.raises(RunDirectoryError, match="expected the number of this run's starts"):
        made.next_generation()


def test_a_full_disk_at_the_start_is_an_error_of_ours(tmp_path: Path) -> None:
    made = directory(tmp_path)
    made.next_generation()

    with full_disk(file_bytes_max=0), pytest.raises(CheckpointUnwritable, match="GENERATION"):
        made.next_generation()

    assert made.next_generation() == 2


# ---- going back ---------------------------------------------------------------------------------


def test_revoked_checkpoints_are_gone_and_those_before_stay(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 5, 8)

    with made.lock():
        made.revoke(5)

    assert made.checkpoints.steps() == [5, 3]
    assert not data_file(made, 8).exists()
    assert not (made.path / "REVOKED").exists()


def test_a_revocation_that_a_crash_cut_short_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """What a liar has spoilt must not be trained on because the coordinator died just then."""
    made = directory(tmp_path, 3, 5, 8)
    (made.path / "REVOKED").write_text("3")

    with made.lock():
        newest, _ = made.checkpoints.newest()

    assert newest is not None
    assert newest.step == 3
    assert not (made.path / "REVOKED").exists()


def test_a_mark_that_a_person_has_written_is_a_mark(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 5)
    (made.path / "REVOKED").write_text("4\n")

    with made.lock():
        assert made.checkpoints.steps() == [3]


@pytest.mark.parametrize("name", ["REVOKED", "GENERATION"])
def test_a_directory_where_a_number_should_be_is_named(tmp_path: Path, name: str) -> None:
    made = directory(tmp_path)
    (made.path / name).mkdir()

    with pytest.raises(RunDirectoryError, match=f"got Is a directory — .*{name}"), made.lock():
        made.next_generation()


def test_the_mark_is_there_first_and_goes_last(tmp_path: Path) -> None:
    made = RunDirectory(directory(tmp_path, 3, 5).path)

    with made.lock(), recorded() as calls:
        made.revoke(4)

    assert calls == [
        "fsync .REVOKED.tmp",
        "rename REVOKED",
        "fsync run",
        "unlink step-00000005.json",
        "unlink step-00000005.safetensors",
        "fsync checkpoints",
        "unlink REVOKED",
        "fsync run",
    ]


def test_a_mark_that_names_no_step_is_explained(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    (made.path / "REVOKED").write_text("three")

    with pytest.raises(RunDirectoryError, match="the last step that is not revoked, got 'three'"):
        made.lock().__enter__()

    assert made.checkpoints.steps() == [3]


def test_checkpoints_are_revoked_on_a_full_disk(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 5)

    with made.lock(), full_disk(0):
        made.revoke(4)

    assert made.checkpoints.steps() == [3]
