"""The flags that several commands have, and what is refused before anything begins."""

import os
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.cores import seats
from cli.errors import UsageError
from cli.options import CheckpointEveryType, newest_run_dir, write_address
from cli.supervisor import LocalRun
from coordinator.run_directory import RunDirectory
from coordinator.settings import CheckpointEvery

pytestmark = pytest.mark.unit


def parse(text: object) -> CheckpointEvery:
    return CheckpointEveryType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", CheckpointEvery(1)),
        ("100", CheckpointEvery(100)),
        (100, CheckpointEvery(100)),
        ("30s", CheckpointEvery(None, 30.0)),
        ("0.5s", CheckpointEvery(None, 0.5)),
        ("0s", CheckpointEvery(None, 0.0)),
        (CheckpointEvery(7), CheckpointEvery(7)),
    ],
)
def test_checkpoints_come_every_so_many_steps_or_seconds(
    text: object, expected: CheckpointEvery
) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "s", "5 s", "5m", ".5s", "1e3s", "nans", "-1s", "1s ", "5S"]
)
def test_anything_else_is_refused_and_shown(text: str) -> None:
    with pytest.raises(click.BadParameter) as refusal:
        parse(text)

    assert f"expected steps like 100 or seconds like 30s, got {text!r}" in str(refusal.value)


@given(st.integers(1, 10**9))
def test_a_number_of_steps_is_handed_on_as_it_was_given(steps: int) -> None:
    assert parse(str(CheckpointEvery(steps))) == CheckpointEvery(steps)


@pytest.mark.parametrize(
    "seconds",
    [
        0.0,
        0.25,
        5.0,
        3600.0,
        1_000_000.0,
        86_400.25,
        0.00001,
        1e-7 / 3,
        5e-324,
        1e-4,
        999_999_999.1,
    ],
)
def test_a_number_of_seconds_is_handed_on_as_it_was_given(seconds: float) -> None:
    every = CheckpointEvery(None, seconds)

    assert parse(str(every)) == every


def test_the_coordinator_is_given_what_was_said_and_nothing_else(tmp_path: Path) -> None:
    flags = {"steps": 9, "batch_size": None, "checkpoint_every": CheckpointEvery(7), "seed": 0}

    arguments = LocalRun(
        RunDirectory(tmp_path), 2, seats([], 2), 9, flags, "", []
    ).coordinator_arguments()

    assert arguments == [
        "coordinator",
        "--bind=tcp://127.0.0.1:0",
        f"--run-dir={tmp_path}",
        f"--address-file={tmp_path / 'coordinator.address'}",
        "--log-format=json",
        "--steps=9",
        "--checkpoint-every=7",
        "--seed=0",
    ]


def test_an_address_file_holds_the_address_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_address(tmp_path / "address", "tcp://127.0.0.1:7")

    assert [path.name for path in tmp_path.iterdir()] == ["address"]
    assert (tmp_path / "address").read_text() == "tcp://127.0.0.1:7\n"


def test_the_newest_run_is_the_one_that_was_made_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for time_s, name in enumerate(["b", "a", "c"]):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
        os.utime(tmp_path / "runs" / name, (time_s, time_s))
    (tmp_path / "runs" / "other").mkdir()

    assert newest_run_dir() == Path("runs/c")


def test_without_a_run_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=r"expected a run under \./runs.*give --run-dir"):
        newest_run_dir()
