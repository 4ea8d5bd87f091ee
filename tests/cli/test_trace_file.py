"""The file of --timeline-filename: a JSON array, whatever becomes of the run."""

import json
from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.trace_file import TraceFile
from coordinator.timeline import Leg, PhaseTimes, StepTrace

pytestmark = pytest.mark.unit

PHASES = PhaseTimes(0.002, 0.005, 0.002, 0.001, 0.003, 0.0, 0.001)
LEG = Leg("w1", 0, 4, 0.0, 0.0, 0.004, 0.010)


def step_of(step: int) -> StepTrace:
    return StepTrace(step, float(step), 0.014, 2.5, 64, 1, PHASES, 100, 90, (LEG,), "w1")


def steps_in(path: Path) -> list[str]:
    events = json.loads(path.read_text())
    return [one["name"] for one in events if one["name"].startswith("step ")]


def test_a_run_that_has_ended_leaves_a_whole_array(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "t.json", goes_on=True)
    file.add(step_of(1))
    file.add(step_of(2))
    file.close()

    assert steps_in(tmp_path / "t.json") == ["step 1", "step 2"]


def test_a_run_without_a_step_leaves_an_array_too(tmp_path: Path) -> None:
    TraceFile(tmp_path / "t.json", goes_on=False).close()

    assert steps_in(tmp_path / "t.json") == []


def test_a_run_that_goes_on_adds_to_what_is_there(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        file = TraceFile(tmp_path / "t.json", goes_on=True)
        file.add(step_of(step))
        file.close()

    assert steps_in(tmp_path / "t.json") == ["step 1", "step 2", "step 3"]


def test_what_a_crash_has_left_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    file = TraceFile(path, goes_on=True)
    file.add(step_of(1))
    file.close()
    path.write_bytes(path.read_bytes().removesuffix(b"\n]\n"))  # as if it had not been closed

    file = TraceFile(path, goes_on=True)
    file.add(step_of(2))
    file.close()

    assert steps_in(path) == ["step 1", "step 2"]


def test_half_an_event_is_taken_back(tmp_path: Path) -> None:
    """A killed coordinator may have written part of an event."""
    path = tmp_path / "t.json"
    file = TraceFile(path, goes_on=True)
    file.add(step_of(1))
    file.close()
    path.write_bytes(path.read_bytes().removesuffix(b"\n]\n") + b',\n{"name": "adam", "ph')

    file = TraceFile(path, goes_on=True)
    file.add(step_of(2))
    file.close()

    assert steps_in(path) == ["step 1", "step 2"]


def test_another_run_begins_the_file_anew(tmp_path: Path) -> None:
    for step in (1, 2):
        file = TraceFile(tmp_path / "t.json", goes_on=False)
        file.add(step_of(step))
        file.close()

    assert steps_in(tmp_path / "t.json") == ["step 2"]


def test_a_crash_within_the_first_event_leaves_no_comma_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(b'[\n{"name": "proc')

    file = TraceFile(path, goes_on=True)
    file.add(step_of(1))
    file.close()

    assert steps_in(path) == ["step 1"]


def test_later_starts_are_drawn_behind_earlier_ones(tmp_path: Path) -> None:
    """Each coordinator counts from its own start; on one track nothing may overlap."""
    path = tmp_path / "t.json"
    for step in (5, 1):
        file = TraceFile(path, goes_on=True)
        file.add(step_of(step))
        file.close()

    first, second = (one for one in json.loads(path.read_text()) if one["name"].startswith("step "))
    assert second["ts"] >= first["ts"] + first["dur"]


def test_what_is_no_timeline_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(UsageError, match="expected a timeline of this run, got another file"):
        TraceFile(tmp_path / "notes", goes_on=True)
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_full_disk_is_an_error_and_the_file_is_closed() -> None:
    file = TraceFile(Path("/dev/full"), goes_on=False)

    with pytest.raises(OSError, match="No space left"):
        file.close()
