"""Cells are compared within a round, and the goals that can be judged are judged."""

import pytest

from benchmarks.scaling_report import (
    DDP,
    OURS,
    TUNED,
    Cell,
    Report,
    Round,
    Sample,
    lines_from,
    lines_of,
    serial_fractions,
)
from benchmarks.timing import Spread

pytestmark = pytest.mark.unit

PHASES = {"compute": 0.0007, "reduce": 0.0001, "other": 0.0002}


def one_round(slowness: float, has_torch: bool = True) -> Round:
    """A round in which the machine was so slow; two workers take 1 ms, one 1.5 ms."""
    ours = {
        Cell(OURS, 64, 1): Sample(0.0015 * slowness),
        Cell(OURS, 64, 2): Sample(0.001 * slowness, 0.0003 * slowness, PHASES),
    }
    theirs = {
        Cell(DDP, 64, 1): Sample(0.003 * slowness),
        Cell(DDP, 64, 2): Sample(0.005 * slowness),
        Cell(TUNED, 64, 2): Sample(0.004 * slowness),
    }
    return ours | (theirs if has_torch else {})


def report(rounds: list[Round], torch: str = "") -> str:
    lines, fractions = lines_from(rounds), serial_fractions(rounds)
    said = Report({"cpu": "fast"}, "names", {64: 8}, 2000, len(rounds), torch, lines, fractions)
    return "\n".join(lines_of(said))


def test_ratios_are_taken_within_a_round() -> None:
    _, two, *_ = lines_from([one_round(1), one_round(7), one_round(2)])

    assert two.steps_per_s == Spread(pytest.approx(500), pytest.approx(1000 / 7), 1000)
    for spread, expected in ((two.speed_up, 1.5), (two.times_ddp, 5), (two.times_tuned, 4)):
        assert spread == Spread(*[pytest.approx(expected)] * 3)
    assert two.efficiency is not None
    assert two.efficiency.median == pytest.approx(0.75)


def test_a_cell_is_not_compared_with_itself() -> None:
    one, *_ = lines_from([one_round(1)])

    assert one.speed_up is None


def test_the_serial_fraction_is_that_of_our_cells() -> None:
    assert serial_fractions([one_round(1)])[64].median == pytest.approx(1 / 3)


def test_phases_stand_in_the_table_where_runs_tell_them() -> None:
    assert "all but compute" in report([one_round(1)])
    assert "all but compute" not in report([{Cell(OURS, 64, 2): Sample(0.001)}])


def test_goals_are_said_to_be_met_or_missed() -> None:
    text = report([one_round(1)])

    assert "goal met: gradflock, 2 at 64: 5.00 times DDP of 2 processes; wanted 4" in text
    assert "goal met: gradflock, 2 at 64: 1.50 times one worker; wanted above 1" in text
    assert "goal met: gradflock, 2 at 64: 300 us of a step are not compute" in text
    assert "goal missed" not in text
    slow = {**one_round(1), Cell(OURS, 64, 2): Sample(0.002, 0.0005, PHASES)}
    assert report([slow]).count("goal missed") == 3


def test_without_torch_the_reason_stands_there_and_the_peer_is_not_judged() -> None:
    text = report([one_round(1, has_torch=False)], torch="it is not installed")

    assert "no rows of DDP: it is not installed" in text
    assert "times DDP" not in text
