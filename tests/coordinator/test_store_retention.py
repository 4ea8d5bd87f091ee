"""Which checkpoints stay, which go and in which order, and what is set aside."""

import errno
import os
from pathlib import Path

import pytest

from coordinator.run_directory import RunDirectory
from coordinator.store import Keep
from tests.coordinator.calls import recorded
from tests.coordinator.stored import checkpoint, data_file, directory, record_file, refuse, rewrite

pytestmark = pytest.mark.unit


# ---- which stay ---------------------------------------------------------------------------------


def test_the_first_of_every_so_many_steps_stays_for_ever(tmp_path: Path) -> None:
    made = directory(tmp_path)
    keep = Keep(newest=2, every=10)

    for step in range(0, 36, 3):
        made.checkpoints.save(checkpoint(step), keep)

    assert made.checkpoints.steps() == [33, 30, 21, 12, 0]


def test_what_was_to_stay_when_it_was_saved_stays_whatever_is_asked_for_later(
    tmp_path: Path,
) -> None:
    made = directory(tmp_path)
    for step in range(0, 21, 5):
        made.checkpoints.save(checkpoint(step), Keep(newest=1, every=10))

    resumed = RunDirectory(made.path)
    for step in range(25, 41, 5):
        resumed.checkpoints.save(checkpoint(step), Keep(newest=1))
    assert resumed.checkpoints.steps() == [40, 20, 10, 0]

    resumed.checkpoints.save(checkpoint(45), Keep(newest=1, every=40))
    assert resumed.checkpoints.steps() == [45, 40, 20, 10, 0]


def test_a_step_that_is_saved_again_stays_only_if_it_is_the_first_again(tmp_path: Path) -> None:
    """After going back, steps may be saved at other places."""
    made, keep = directory(tmp_path), Keep(newest=1, every=10)
    for step in (3, 12):
        made.checkpoints.save(checkpoint(step), keep)
    made.checkpoints.save(checkpoint(13), Keep(newest=1))  # looks whether 12 is to stay
    made.checkpoints.remove_after(3)

    for step in (11, 12, 13):
        made.checkpoints.save(checkpoint(step), keep)

    assert made.checkpoints.steps() == [13, 11, 3]


def test_records_that_stay_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be hundreds, and every save looks which may go."""
    made = directory(tmp_path)
    for step in range(4):
        made.checkpoints.save(checkpoint(step), Keep(newest=1, every=1))
    read: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or original(path))

    for step in (4, 5, 6):
        made.checkpoints.save(checkpoint(step), Keep(newest=3))

    assert sorted(read) == [f"step-{step:08d}.json" for step in range(4)]


def test_what_is_not_said_to_stay_or_is_damaged_goes_and_what_cannot_be_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path)
    for step in (1, 2, 3):
        made.checkpoints.save(checkpoint(step), Keep(newest=9, every=1))
    rewrite(record_file(made, 1), stays=None)  # as in records of earlier versions
    record_file(made, 2).write_text("rot")
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == record_file(made, 3):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    made.checkpoints.save(checkpoint(4), Keep(newest=1))

    assert made.checkpoints.steps() == [4, 3]


def test_the_oldest_goes_first_and_its_record_before_its_data(tmp_path: Path) -> None:
    made = directory(tmp_path, 1, 2, 3)

    with recorded() as calls:
        made.checkpoints.save(checkpoint(4), Keep(newest=2))

    assert calls[6:] == [
        "unlink step-00000001.json",
        "unlink step-00000001.safetensors",
        "unlink step-00000002.json",
        "unlink step-00000002.safetensors",
        "fsync checkpoints",
    ]


def test_a_step_is_saved_though_an_older_one_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path, 1, 2, 3)
    refuse(monkeypatch, "unlink", "step-00000001.json")

    made.checkpoints.save(checkpoint(4), Keep(newest=1))

    assert made.checkpoints.steps() == [4, 1]


def test_a_step_is_saved_though_the_removal_of_others_is_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path, 1, 2, 3)
    unlink, fsync = os.unlink, os.fsync
    removed: list[object] = []

    def refuse_afterwards(descriptor: int) -> None:
        if removed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "unlink", lambda path: (unlink(path), removed.append(path)))
    monkeypatch.setattr(os, "fsync", refuse_afterwards)
    made.checkpoints.save(checkpoint(4))

    assert made.checkpoints.newest() == (checkpoint(4), [])
    assert removed


def test_what_stays_does_not_depend_on_the_order_of_looking() -> None:
    assert Keep(1).of([3, 9, 5]) == {9}
    assert Keep(2, every=4).of({9, 5, 3, 4, 1}) == {9, 5, 4, 1}
    assert Keep(9).of([2, 1]) == {1, 2}


def test_a_save_never_removes_itself_for_newer_ones_that_are_not_valid(tmp_path: Path) -> None:
    """Three damaged checkpoints are no reason to forget the only good one."""
    made = directory(tmp_path, 50, 90, 95, 100)
    for step in (90, 95, 100):
        data_file(made, step).write_bytes(b"rot")

    made.checkpoints.save(checkpoint(60))

    newest, complaints = made.checkpoints.newest()
    assert newest == checkpoint(60)
    assert len(complaints) == 3


def test_what_was_passed_over_is_set_aside_and_kept_for_people(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4, 5)
    data_file(made, 5).write_bytes(b"rot")
    data_file(made, 4).unlink()

    made.checkpoints.set_aside_after(3)

    assert made.checkpoints.newest() == (checkpoint(3), [])
    assert sorted(path.name for path in made.checkpoints.path.glob("*.bad")) == [
        "step-00000004.json.bad",
        "step-00000005.json.bad",
        "step-00000005.safetensors.bad",
    ]
    with made.lock():  # tidies
        assert len(list(made.checkpoints.path.glob("*.bad"))) == 3


def test_what_is_set_aside_loses_its_record_first_and_stays_aside(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    with recorded() as calls:
        made.checkpoints.set_aside_after(3)

    assert calls == [
        "rename step-00000004.json.bad",
        "rename step-00000004.safetensors.bad",
        "fsync checkpoints",
    ]


def test_what_is_removed_loses_its_record_first_and_stays_removed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    with recorded() as calls:
        made.checkpoints.remove_after(3)

    assert calls == [
        "unlink step-00000004.json",
        "unlink step-00000004.safetensors",
        "fsync checkpoints",
    ]


def test_with_nothing_to_set_aside_nothing_changes(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    made.checkpoints.set_aside_after(3)

    assert made.checkpoints.steps() == [3]
