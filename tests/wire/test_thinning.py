"""Lines of a log: a burst, then so many a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.thinning import BURST, Thinning

pytestmark = pytest.mark.unit


def test_a_burst_has_a_line_each_and_a_flood_has_not() -> None:
    thinning = Thinning()

    lines = [thinning.has_line(100.0) for _ in range(1000)]

    assert lines == [True] * int(BURST) + [False] * (1000 - int(BURST))


def test_after_a_while_there_are_lines_again() -> None:
    thinning = Thinning(burst=3, per_s=0.5)
    for _ in range(3):
        assert thinning.has_line(10.0)

    assert not thinning.has_line(11.0)
    assert thinning.has_line(12.5)
    assert not thinning.has_line(12.5)
    assert [thinning.has_line(1000.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 1), max_size=200))
def test_never_are_there_more_lines_than_the_burst_and_the_rate(gaps_s: list[float]) -> None:
    thinning, now, lines = Thinning(burst=5, per_s=2.0), 0.0, 0
    for gap_s in gaps_s:
        now += gap_s
        lines += thinning.has_line(now)

    assert lines <= 5 + 2.0 * now + 1e-6
