"""Whole files and durable names, on a real disk."""

import os
from pathlib import Path

import pytest

from coordinator.files import make_directory, write_durably
from tests.coordinator.calls import recorded
from tests.coordinator.disk import full_disk

pytestmark = pytest.mark.unit


def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"12345")

    assert (tmp_path / "a").read_bytes() == b"12345"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_may_be_for_others_too_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_durably(tmp_path / "a", b"12345", 0o644)
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_what_was_there_stays_when_there_is_no_room(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"before")

    with full_disk(100), pytest.raises(OSError, match="large"):
        write_durably(tmp_path / "a", bytes(200))

    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_crash_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_bytes(b"half")

    write_durably(tmp_path / "a", b"whole")

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_the_names_of_new_directories_are_durable(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    with recorded() as calls:
        make_directory(tmp_path / "there" / "a" / "b")

    assert calls == ["fsync there", "fsync a"]


def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")

    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "a")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "a" / "b")
