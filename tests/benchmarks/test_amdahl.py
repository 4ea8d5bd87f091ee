"""The fit finds the serial part that made-up times were made of."""

import pytest

from benchmarks.amdahl import serial_fraction

pytestmark = pytest.mark.unit


def times(serial_s: float, parallel_s: float, *counts: int) -> dict[int, float]:
    return {workers: serial_s + parallel_s / workers for workers in counts}


@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 4, 8), (2, 4)])
def test_times_that_keep_the_law_give_their_serial_part_back(counts: tuple[int, ...]) -> None:
    assert serial_fraction(times(1.0, 3.0, *counts)) == pytest.approx(0.25)


def test_a_step_that_more_workers_make_longer_is_more_than_serial() -> None:
    assert serial_fraction({1: 1.0, 2: 1.5}) == pytest.approx(2.0)


def test_errors_around_the_law_are_averaged_out() -> None:
    noisy = times(1.0, 3.0, 1, 2, 4)
    noisy[2] += 0.3

    assert serial_fraction(noisy) == pytest.approx(0.25, abs=0.05)


def test_one_worker_count_says_nothing() -> None:
    assert serial_fraction({2: 1.0}) is None
