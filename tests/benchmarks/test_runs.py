"""What a run's metrics say about its steps, once all workers are there."""

from typing import Any

import pytest

from benchmarks.runs import WARM_UP_STEPS, settled

pytestmark = pytest.mark.unit


def line(seconds: float, workers: int, compute_s: float | None = None) -> dict[str, Any]:
    phases = {} if compute_s is None else {"phases": {"compute": compute_s, "adam": 0.25}}
    return {"seconds": seconds, "workers": workers, **phases}


def test_steps_before_all_workers_have_joined_are_not_counted_nor_the_next_few() -> None:
    lines = [line(9.0, 1)] * 5 + [line(8.0, 2)] * WARM_UP_STEPS + [line(1.0, 2)] * 3

    found = settled(lines, 2)

    assert (found.steps, found.step_s) == (3, 1.0)
    assert (found.phases_s, found.overhead_s) == ({}, None)


def test_overhead_is_all_but_compute_step_by_step() -> None:
    warm_up = [line(9.0, 1)] * WARM_UP_STEPS
    lines = [*warm_up, line(4.0, 1, 1.0), line(2.0, 1, 1.75), line(3.0, 1, 2.0)]

    found = settled(lines, 1)

    assert found.phases_s == {"compute": 1.75, "adam": 0.25}
    assert found.overhead_s == 1.0


def test_a_run_that_ends_before_all_workers_have_joined_is_refused() -> None:
    with pytest.raises(SystemExit, match="all of 2 workers, got none in 100 steps"):
        settled([line(1.0, 1)] * 100, 2)
