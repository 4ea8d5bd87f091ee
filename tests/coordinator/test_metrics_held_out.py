"""metrics.jsonl and the held-out loss: lines wait for it, in order, and are completed once."""

import json
import math
from pathlib import Path

import pytest

from coordinator.metrics import Metrics, held_out_loss_of
from tests.coordinator.disk import full_disk
from tests.coordinator.steps import committed, steps_in, written

pytestmark = pytest.mark.unit


def stopped_at(path: Path, step: int) -> None:
    """Leave the file of a run whose last line was written before its evaluation was done."""
    with Metrics(path, 0) as metrics:
        for done in range(1, step + 1):
            metrics.append(committed(done))
        metrics.hold(step)
        metrics.settle()


def test_the_line_of_a_step_that_is_evaluated_waits_and_later_lines_wait_behind_it(
    tmp_path: Path,
) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.append(committed(2))
        metrics.hold(2)
        metrics.append(committed(3))
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, -1)]

        metrics.complete(2, 7 / 3)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, 7 / 3), (3, -1)]


def test_one_evaluation_after_the_other_keeps_the_lines_in_order(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.append(committed(2))
        metrics.append(committed(3))
        metrics.complete(1, 2.5)
        metrics.hold(3)
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, 2.5), (2, -1)]
        metrics.complete(3, 1.5)

    assert steps_in(tmp_path / "m") == [(1, 2.5), (2, -1), (3, 1.5)]


def test_a_late_answer_to_another_step_releases_nobody(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.append(committed(2))
        metrics.hold(2)
        metrics.complete(1, 2.5)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_held_out_loss_that_is_not_finite_is_null(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, math.nan)

    assert steps_in(tmp_path / "m") == [(1, None)]


def test_the_start_of_a_run_has_no_line_that_others_could_wait_for(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.hold(0)
        metrics.append(committed(1))
        metrics.flush()
        metrics.complete(0, 3.0)

        assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_durable_step_has_its_line_even_without_its_held_out_loss(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.append(committed(2))
        metrics.settle()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]

        metrics.complete(1, 2.5)
        metrics.flush()

        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]


def test_lines_that_wait_are_written_at_the_end(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.flush()

    assert steps_in(tmp_path / "m") == [(1, -1)]


def test_a_run_that_goes_on_completes_the_line_it_goes_on_from(tmp_path: Path) -> None:
    stopped_at(tmp_path / "m", 2)

    with Metrics(tmp_path / "m", 2) as metrics:
        assert not metrics.is_evaluated
        metrics.hold(2)
        metrics.append(committed(3))
        metrics.flush()
        assert steps_in(tmp_path / "m") == [(1, -1), (2, -1)]
        metrics.complete(2, 7 / 3)
        metrics.flush()

    assert steps_in(tmp_path / "m") == [(1, -1), (2, 7 / 3), (3, -1)]
    with Metrics(tmp_path / "m", 2) as metrics:
        assert metrics.is_evaluated


def test_a_completed_line_is_that_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    with Metrics(tmp_path / "whole", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, 2.5)
    stopped_at(tmp_path / "m", 1)

    with Metrics(tmp_path / "m", 1) as metrics:
        metrics.hold(1)
        metrics.complete(1, 2.5)

    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_line_that_a_full_disk_does_not_let_grow_stays_as_it_was(tmp_path: Path) -> None:
    stopped_at(tmp_path / "m", 2)
    before = (tmp_path / "m").read_text()

    with Metrics(tmp_path / "m", 2) as metrics:
        metrics.hold(2)
        with full_disk(len(before) + 5):
            metrics.complete(2, 7 / 3)
        assert (tmp_path / "m").read_text() == before
        metrics.append(committed(3))

    assert steps_in(tmp_path / "m") == [(1, -1), (2, -1), (3, -1)]


def test_what_a_crash_leaves_behind_a_line_that_it_was_to_complete_is_forgotten(
    tmp_path: Path,
) -> None:
    text = written(tmp_path / "m", 1)
    (tmp_path / "m").write_text(text + '"held_out_loss": 2.5}\n')

    with Metrics(tmp_path / "m", 1):
        pass

    assert (tmp_path / "m").read_text() == text


@pytest.mark.parametrize("step", [0, 1, 3])
def test_only_the_step_that_a_run_goes_on_from_counts_as_evaluated(
    tmp_path: Path, step: int
) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for done in (1, 2, 3):
            metrics.append(committed(done))
            metrics.hold(done if done == 2 else 0)
            metrics.complete(2, 2.5)

    with Metrics(tmp_path / "m", step) as metrics:
        assert not metrics.is_evaluated


def test_the_held_out_loss_of_a_step_is_read_back(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for step, held_out_loss in ((1, 7 / 3), (2, math.nan)):
            metrics.append(committed(step))
            metrics.hold(step)
            metrics.complete(step, held_out_loss)
        metrics.append(committed(3))

    assert held_out_loss_of(tmp_path / "m", 1) == 7 / 3
    assert math.isnan(held_out_loss_of(tmp_path / "m", 2) or 0.0)
    assert held_out_loss_of(tmp_path / "m", 3) is None
    assert held_out_loss_of(tmp_path / "m", 4) is None
    assert held_out_loss_of(tmp_path / "absent", 1) is None


def test_a_run_that_goes_back_has_no_line_twice_and_none_of_what_was_undone(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m", 0) as metrics:
        for step in (1, 2, 3):
            metrics.append(committed(step))
        metrics.flush()
        metrics.hold(4)
        for step in (4, 5):
            metrics.append(committed(step))

        metrics.go_back(2)
        metrics.complete(4, 2.5)
        for step in (3, 4):
            metrics.append(committed(step))

    steps = [json.loads(line)["step"] for line in (tmp_path / "m").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_run_that_goes_back_forgets_the_rest_of_a_line_that_was_half_written(
    tmp_path: Path,
) -> None:
    first = written(tmp_path / "m", 1)
    with Metrics(tmp_path / "m", 1) as metrics:
        metrics.append(committed(2))
        with full_disk(len(first) + 10):
            metrics.flush()
        assert (tmp_path / "m").stat().st_size == len(first) + 10

        metrics.go_back(1)
        metrics.append(committed(2))

    assert (tmp_path / "m").read_text() == written(tmp_path / "whole", 1, 2)


def test_a_run_that_goes_back_to_its_start_evaluates_its_steps_again(tmp_path: Path) -> None:
    written(tmp_path / "m", 1)

    with Metrics(tmp_path / "m", 0) as metrics:
        metrics.append(committed(1))
        metrics.hold(1)
        metrics.complete(1, 2.5)

    assert steps_in(tmp_path / "m") == [(1, 2.5)]
