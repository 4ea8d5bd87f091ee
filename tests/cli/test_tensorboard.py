"""`gradflock tensorboard`: event files, read back record by record with TensorBoard's messages."""

import json
import os
import socket
import struct
import sys
import time
from array import array
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from cli.event_files import EventFile
from cli.metrics_tail import Tail
from cli.tensorboard import Followed
from tests.cli.metrics_files import ended, rich_line, step_line, text_of, write_run

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_directory")]

DEADLINE_S = 20.0
NOBODY = 999_999_999  # more than any kernel numbers its processes
LOG = Path("log")


def events_in(directory: Path) -> list[Event]:
    """Read the only event file of a directory, up to the last whole record."""
    [path] = directory.glob("events.out.tfevents.*")
    data, at, events = path.read_bytes(), 0, []
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            break
        record = data[at + 12 : at + 12 + length]
        crcs = (
            *struct.unpack_from("<I", data, at + 8),
            *struct.unpack_from("<I", data, at + 12 + length),
        )
        assert crcs == (masked_crc32c(data[at : at + 8]), masked_crc32c(record))
        events.append(Event.FromString(record))
        at += 16 + length
    return events


def shown(directory: Path) -> dict[str, dict[int, float]]:
    """Give the scalars that TensorBoard shows: what a session's start purges is gone."""
    scalars: dict[str, dict[int, float]] = {}
    for event in events_in(directory):
        if event.session_log.status == SessionLog.START:
            for values in scalars.values():
                for step in [step for step in values if step >= event.step]:
                    del values[step]
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


def float32(value: float) -> float:
    return array("f", [value])[0]


def append(run: Path, *lines: dict[str, Any]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(text_of(*lines))


# ---- what is written ----------------------------------------------------------------------------


def test_every_number_of_a_step_is_a_scalar_at_that_step(tmp_path: Path) -> None:
    write_run(tmp_path / "one", rich_line(1), rich_line(2))

    assert ended("tensorboard", "one") == 0

    first, *_ = events_in(tmp_path / "one" / "tensorboard")
    assert first.file_version == "brain.Event:2"
    assert shown(tmp_path / "one" / "tensorboard") == {
        "loss": {1: 3.0, 2: 2.5},
        "held_out_loss": {1: 3.125, 2: 2.625},
        "learning_rate": {1: float32(0.01), 2: float32(0.005)},
        "documents_per_second": {1: 6400.0, 2: 6400.0},
        "seconds": {1: float32(0.01), 2: float32(0.01)},
        "workers": {1: 2.0, 2: 2.0},
        "bytes/sent": {1: 1001.0, 2: 1002.0},
        "bytes/received": {1: 2001.0, 2: 2002.0},
        "phases/broadcast": {1: float32(0.001), 2: float32(0.001)},
        "phases/compute": {1: float32(0.006), 2: float32(0.006)},
        "phases/collect": {1: float32(0.002), 2: float32(0.002)},
        "phases/adam": {1: float32(0.001), 2: float32(0.001)},
        "grad_norms/wte": {1: 0.5, 2: 0.25},
        "grad_norms/layer0.attn_wq": {1: 0.25, 2: 0.25},
    }


def test_an_old_run_has_the_scalars_that_it_knew(tmp_path: Path) -> None:
    write_run(tmp_path / "old", step_line(1), step_line(2, held_out_loss=None))

    assert ended("tensorboard", "old") == 0

    assert shown(tmp_path / "old" / "tensorboard").keys() == {
        *("loss", "learning_rate", "documents_per_second", "seconds", "workers")
    }


def test_a_learning_rate_that_has_come_to_nothing_is_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "one", step_line(1, learning_rate=0.0))

    assert ended("tensorboard", "one") == 0

    assert shown(tmp_path / "one" / "tensorboard")["learning_rate"] == {1: 0.0}


def test_times_are_those_of_training_and_end_with_the_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", *(step_line(step, seconds=2.0) for step in (1, 2, 3)))
    os.utime(run / "metrics.jsonl", (1000.0, 1000.0))

    assert ended("tensorboard", "one") == 0

    _, *events = events_in(run / "tensorboard")
    assert [event.wall_time for event in events] == [996.0, 998.0, 1000.0]


def test_each_run_is_a_run_of_tensorboard(tmp_path: Path) -> None:
    for name in ("a/run", "b/run", "other"):
        write_run(tmp_path / name, step_line(1, loss=float(len(name))))

    assert ended("tensorboard", "a/run", "b/run", "other", "--logdir", LOG) == 0

    for name in ("a/run", "b/run", "other"):
        assert shown(LOG / name)["loss"] == {1: len(name)}


def test_what_was_written_before_is_replaced_and_files_of_others_stay(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", step_line(1))
    assert ended("tensorboard", "one") == 0
    others = run / "tensorboard" / "events.out.tfevents.1795190322.desk"
    others.write_bytes(b"theirs")
    append(run, step_line(2))

    assert ended("tensorboard", "one") == 0

    assert others.read_bytes() == b"theirs"
    others.unlink()
    assert shown(run / "tensorboard")["loss"].keys() == {1, 2}


# ---- a run that grows ---------------------------------------------------------------------------


def test_only_whole_lines_are_taken_and_each_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", step_line(1))
    tail = Tail(run / "metrics.jsonl")
    assert [line.step for line in tail.read()[1]] == [1]

    third = json.dumps(step_line(3))
    append(run, step_line(2))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(third[:20])
    assert [line.step for line in tail.read()[1]] == [2]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(third[20:] + "\n")

    assert [line.step for line in tail.read()[1]] == [3]
    assert tail.read() == (None, [])


def test_a_file_that_does_not_exist_yet_is_an_empty_one(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "one" / "metrics.jsonl")
    assert tail.read() == (None, [])

    write_run(tmp_path / "one", step_line(1))

    assert [line.step for line in tail.read()[1]] == [1]


def test_a_damaged_line_is_complained_of_once_and_by_its_number(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", step_line(1))
    tail = Tail(run / "metrics.jsonl")
    tail.read()
    with (run / "metrics.jsonl").open("a") as file:
        file.write("nonsense\n" + text_of(step_line(2)))

    assert [line.step for line in tail.read()[1]] == [2]
    assert tail.complaint == f"passed over what is no line of a step — {run}/metrics.jsonl:2"
    tail.read()
    assert tail.complaint == ""


def test_a_run_that_goes_back_is_shown_as_it_went_on(tmp_path: Path) -> None:
    """The file was cut, and is longer again by the time somebody looks."""
    run = write_run(tmp_path / "one", *(step_line(step) for step in range(1, 60)))
    with EventFile(LOG) as file:
        followed = Followed(run, file)
        followed.write_new()
        kept = [step_line(step) for step in range(1, 40)]
        write_run(run, *kept, *(step_line(step, loss=0.5) for step in range(40, 80)))

        followed.write_new()

        starts = [one for one in events_in(LOG) if one.session_log.status == SessionLog.START]
        assert [one.step for one in starts] == [40]
        losses = shown(LOG)["loss"]
        assert [*losses] == [*range(1, 80)]
        assert {losses[step] for step in range(40, 80)} == {0.5}
        assert losses[39] == float32(2 + 1 / 39)


def test_a_held_out_loss_that_comes_late_is_shown(tmp_path: Path) -> None:
    """A run that is resumed makes its last line longer, in place."""
    run = write_run(tmp_path / "one", step_line(1), step_line(2))
    with EventFile(LOG) as file:
        followed = Followed(run, file)
        followed.write_new()
        write_run(run, step_line(1), step_line(2, held_out_loss=1.5), step_line(3))

        followed.write_new()

    assert shown(LOG)["held_out_loss"] == {2: 1.5}
    assert shown(LOG)["loss"].keys() == {1, 2, 3}


def test_following_goes_on_until_the_coordinator_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.tensorboard.FOLLOW_S", 0.01)
    run = held_run(tmp_path / "one", os.getpid())

    def train() -> None:
        grow(run)
        (run / "LOCK").unlink()

    thread = Thread(target=train)
    thread.start()
    code = ended("tensorboard", "one", "--follow")
    thread.join()

    assert code == 0
    assert shown(run / "tensorboard")["loss"].keys() == {1, 2, 3}


def held_run(path: Path, process: int) -> Path:
    path.mkdir()
    (path / "LOCK").write_text(f"{process} on {socket.gethostname()}")
    return path


def grow(run: Path) -> None:
    """Write the next step's line when the one before is shown."""
    deadline_s, never = time.monotonic() + DEADLINE_S, Flag()
    while not [*run.glob("tensorboard/events*")] and time.monotonic() < deadline_s:
        never.wait(0.005)  # it is followed before it has a line
    for step in (1, 2, 3):
        append(run, step_line(step))
        while time.monotonic() < deadline_s and step < 3:
            if step in shown(run / "tensorboard").get("loss", {}):
                break
            never.wait(0.005)


def test_following_a_run_that_has_ended_writes_it_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.tensorboard.FOLLOW_S", 0.01)
    write_run(held_run(tmp_path / "one", NOBODY), step_line(1))

    assert ended("tensorboard", "one", "--follow", "--logdir", LOG) == 0

    assert shown(LOG / "one")["loss"] == {1: 3.0}


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--follow",)])
def test_what_is_no_run_is_said_in_one_line_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    for name, code, expected in (
        ("nowhere", 2, "expected the directory of a run, got none — nowhere"),
        ("empty", 1, "expected metrics.jsonl, got none — empty"),
    ):
        assert ended("tensorboard", name, "--logdir", LOG, *flags) == code

        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"gradflock: {expected}; ")
    assert not LOG.exists()


def test_without_tensorboardx_one_line_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "one", step_line(1))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "cli.event_files")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    assert ended("tensorboard", "one") == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "gradflock: expected tensorboardX, got no such package — gradflock tensorboard;"
        " pip install 'gradflock[tensorboard]'"
    )
