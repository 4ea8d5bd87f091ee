"""A metrics file is followed while the coordinator's own code writes it."""

from pathlib import Path

import pytest

from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics
from coordinator.metrics_line import Line
from dashboard import metrics_file
from dashboard.metrics_file import MetricsFile

pytestmark = pytest.mark.unit


def append(metrics: Metrics, *steps: int, loss: float = 2.0) -> None:
    for step in steps:
        metrics.append(StepCommitted(step, loss, 64, 0.5, 2, 0.01))
    metrics.flush()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps_of(file: MetricsFile) -> list[int]:
    return [line.step for line in file.read().lines]


def test_a_file_that_is_not_there_yet_has_no_lines(path: Path) -> None:
    assert MetricsFile(path).read().lines == ()


def test_each_line_comes_once(path: Path) -> None:
    file = MetricsFile(path)
    with Metrics(path, 0) as metrics:
        append(metrics, 1, 2)
        assert steps_of(file) == [1, 2]
        assert steps_of(file) == []
        append(metrics, 3)
        assert steps_of(file) == [3]


def test_a_line_of_which_half_is_written_waits_for_the_rest(path: Path) -> None:
    file = MetricsFile(path)
    with path.open("ab", buffering=0) as writing:
        writing.write(b'{"step": 1, "loss": 2.0, "docu')
        assert steps_of(file) == []
        writing.write(b'ments": 4, "seconds": 0.1}\n')
        assert steps_of(file) == [1]


def test_a_run_that_is_cut_back_is_read_anew(path: Path) -> None:
    file = MetricsFile(path)
    with Metrics(path, 0) as metrics:
        append(metrics, 1, 2, 3, 4)
        assert steps_of(file) == [1, 2, 3, 4]
        metrics.go_back(2)
        reading = file.read()

    assert reading.is_anew
    assert [line.step for line in reading.lines] == [1, 2]


def test_a_run_that_is_cut_back_and_has_grown_again_is_read_anew(path: Path) -> None:
    file = MetricsFile(path)
    with Metrics(path, 0) as metrics:
        append(metrics, 1, 2, 3, 4)
        file.read()
        metrics.go_back(2)
        append(metrics, 3, 4, 5, loss=1.0)
        reading = file.read()

    assert reading.is_anew
    assert [line.loss for line in reading.lines] == [2.0, 2.0, 1.0, 1.0, 1.0]


def test_a_file_that_became_empty_is_read_anew(path: Path) -> None:
    file = MetricsFile(path)
    with Metrics(path, 0) as metrics:
        append(metrics, 1, 2)
        file.read()
        metrics.go_back(0)

        assert file.read().is_anew
        assert not file.read().is_anew


def test_a_last_line_that_gets_its_held_out_loss_comes_again(path: Path) -> None:
    """A run that goes on from a checkpoint evaluates its step once more, and completes the line."""
    file = MetricsFile(path)
    with Metrics(path, 0) as metrics:
        append(metrics, 1, 2)
        assert [line.held_out_loss for line in file.read().lines] == [None, None]
    with Metrics(path, 2) as metrics:
        metrics.hold(2)
        metrics.complete(2, 1.5)
        append(metrics, 3)

        assert [(line.step, line.held_out_loss) for line in file.read().lines] == [
            (2, 1.5),
            (3, None),
        ]


def test_a_completion_that_is_seen_half_way_is_seen_whole_later(path: Path) -> None:
    """What completes a line is written behind its end, before the end becomes a comma."""
    end, rest = (
        b'{"step": 1, "loss": 2.0, "documents": 4, "seconds": 0.1}\n',
        b'"held_out_loss": 1.5}\n',
    )
    file = MetricsFile(path)
    path.write_bytes(end + rest)
    assert [line.held_out_loss for line in file.read().lines] == [None]

    path.write_bytes(end[:-2] + b", " + rest)

    assert [line.held_out_loss for line in file.read().lines] == [1.5]


def test_lines_of_older_and_newer_runs_are_read_alike(path: Path) -> None:
    path.write_text(
        '{"step": 1, "loss": 2.0, "documents": 4, "seconds": 0.1}\n'
        '{"step": 2, "loss": 3.0, "documents": 4, "seconds": 0.1, "bytes_sent": 7, "new": 1}\n'
    )

    old, new = MetricsFile(path).read().lines
    assert old == Line(1, 2.0, 4, 0.1)
    assert new.loss == 3.0
    assert (new.bytes_sent, new.bytes_received) == (7, None)


@pytest.mark.parametrize("line", ["[]", "{}", "5", '{"step": "1", "loss": 1, "documents": 1}', "x"])
def test_what_is_no_line_is_passed_over(path: Path, line: str) -> None:
    path.write_text(line + '\n{"step": 1, "loss": 2.0, "documents": 4, "seconds": 0.1}\n')

    assert steps_of(MetricsFile(path)) == [1]


def test_a_long_file_is_read_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_file, "BYTES_PER_READ", 500)
    with Metrics(path, 0) as metrics:
        append(metrics, *range(1, 101))
    file = MetricsFile(path)

    found = []
    while (reading := file.read()).has_more:
        found += reading.lines
    found += reading.lines
    assert [line.step for line in found] == [*range(1, 101)]
