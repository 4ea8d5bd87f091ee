"""metrics.jsonl after every kind of end: no step twice, none missing, nothing foreign kept."""

import json
from pathlib import Path

import pytest

from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics
from tests.coordinator.disk import full_disk

pytestmark = pytest.mark.unit


def committed(step: int) -> StepCommitted:
    return StepCommitted(step, 1.0 / (step + 2), 8, 0.5, 2, 0.01)


def written(path: Path, *steps: int) -> str:
    """The text of a file to which these steps were appended."""
    with Metrics(path, 0) as metrics:
        for step in steps:
            metrics.append(committed(step))
    return path.read_text()


def test_each_step_is_a_line_with_every_fact_in_full(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2)

    first, second = text.splitlines()
    assert json.loads(first) == {
        "step": 1,
        "loss": 1 / 3,
        "documents": 8,
        "seconds": 0.5,
        "workers": 2,
        "learning_rate": 0.01,
    }
    assert json.loads(second)["step"] == 2


def test_a_line_is_there_as_soon_as_its_step_is(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))

        assert (tmp_path / "m").read_text().endswith("}\n")


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_lines_after_the_resumed_step_are_forgotten(tmp_path: Path, step: int) -> None:
    text = written(tmp_path / "m", 1, 2, 3, 4, 5)

    with Metrics(tmp_path / "m", step):
        pass

    assert (tmp_path / "m").read_text() == "".join(text.splitlines(keepends=True)[:step])


def test_a_resumed_file_is_that_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", 1, 2, 3, 4)
    written(tmp_path / "m", 1, 2, 3)

    with Metrics(tmp_path / "m", 2) as metrics:
        metrics.append(committed(3))
        metrics.append(committed(4))

    assert (tmp_path / "m").read_text() == whole


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2, 3)
    (tmp_path / "m").write_text(text[:-10])

    with Metrics(tmp_path / "m", 3):
        pass

    assert (tmp_path / "m").read_text() == "".join(text.splitlines(keepends=True)[:2])


def test_a_last_line_without_its_end_is_forgotten(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 2)
    (tmp_path / "m").write_text(text[:-1])

    with Metrics(tmp_path / "m", 2):
        pass

    assert (tmp_path / "m").read_text() == text.splitlines(keepends=True)[0]


@pytest.mark.parametrize("line", ["not JSON\n", "[]\n", "null\n", "{}\n", '{"step": "2"}\n', "\n"])
def test_a_foreign_line_ends_what_is_kept(tmp_path: Path, line: str) -> None:
    first = written(tmp_path / "m", 1)
    (tmp_path / "m").write_text(first + line)

    with Metrics(tmp_path / "m", 2):
        pass

    assert (tmp_path / "m").read_text() == first


def test_a_step_that_was_written_twice_is_kept_once(tmp_path: Path) -> None:
    text = written(tmp_path / "m", 1, 1, 2)

    with Metrics(tmp_path / "m", 2):
        pass

    assert (tmp_path / "m").read_text() == text.splitlines(keepends=True)[0]


def test_what_was_appended_can_be_made_durable(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.sync()

    assert len((tmp_path / "m").read_text().splitlines()) == 1


def test_a_full_disk_keeps_lines_waiting_and_sync_says_so(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        with full_disk():
            metrics.append(committed(1))
            metrics.append(committed(2))
            with pytest.raises(OSError, match="large"):
                metrics.sync()
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
