"""Rows are timed by turns, and compared within a round."""

from collections.abc import Callable

import pytest

from benchmarks.timing import Row, Spread, brief, time_rows, times_as_fast

pytestmark = pytest.mark.unit


class Bench:
    """A clock that only work moves, and the order in which the work came."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.order = ""

    def row(self, name: str, documents: int, seconds: float) -> Row:
        return Row(name, documents, 7.0, self._work(name, seconds))

    def _work(self, name: str, seconds: float) -> Callable[[], None]:
        def work() -> None:
            self.now_s += seconds
            self.order += name

        return work


def test_every_round_times_every_row_and_begins_with_another() -> None:
    bench = Bench()

    time_rows([bench.row(name, 1, 1.0) for name in "abc"], 3, lambda: bench.now_s)

    assert bench.order == "abc" + "abc" + "bca" + "cab"


def test_a_sample_is_seconds_per_document_of_one_round() -> None:
    bench = Bench()

    samples = time_rows([bench.row("a", 4, 2.0)], 3, lambda: bench.now_s)

    assert samples == {"a": [0.5, 0.5, 0.5]}


def test_a_ratio_compares_samples_of_one_round() -> None:
    samples = {"fast": [1.0, 2.0, 4.0], "peer": [3.0, 4.0, 40.0]}

    assert times_as_fast(samples, "fast", "peer") == Spread(3.0, 2.0, 10.0)


def test_a_spread_is_written_with_three_digits_or_all_before_the_point() -> None:
    assert brief(Spread(12.345, 0.012345, 12345.6)) == "12.3 (0.0123 to 12,346)"
