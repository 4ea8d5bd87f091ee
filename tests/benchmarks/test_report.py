"""The table says what was reached, what was wanted, and what is missing."""

from dataclasses import replace

import pytest

from benchmarks.report import DatasetFacts, Line, Report, Starts, lines_of
from benchmarks.timing import Spread

pytestmark = pytest.mark.unit


def spread(value: float) -> Spread:
    return Spread(value, value / 2, value * 2)


REPORT = Report(
    machine={"cpu": "fast one"},
    dataset=DatasetFacts("names", 32033, 7.12, "0a30"),
    rounds=7,
    torch="",
    lines=[
        Line("compiled (512, 8)", 1536, 7.17, spread(12.0), spread(3.0)),
        Line("compiled one document", 96, 7.1, spread(100.0), spread(0.5)),
    ],
    starts={"cold": Starts(spread(9.0), spread(150.0), spread(0.5))},
    gflops=Spread(40.0, 20.0, 50.0),
    flops=150_000.0,
)


def test_a_report_names_machine_dataset_and_rounds() -> None:
    text = "\n".join(lines_of(REPORT))

    for part in ("fast one", "names: 32,033 documents", "sha256 0a30", "of 7 rounds"):
        assert part in text


def test_the_time_that_arithmetic_alone_would_take_comes_from_the_best_round() -> None:
    assert REPORT.us_min == pytest.approx(3.0)


def test_goals_are_said_to_be_met_or_missed() -> None:
    *_, missed, met = lines_of(REPORT)

    assert missed.startswith("goal missed: compiled (512, 8) 3.00 times")
    assert met.startswith("goal met: compiled one document takes 100 us")


def test_without_torch_the_reason_stands_in_the_table_and_no_ratio_is_judged() -> None:
    lines = [replace(line, times_peer=None) for line in REPORT.lines]

    text = "\n".join(lines_of(replace(REPORT, torch="no module named torch", lines=lines)))

    assert "no rows of PyTorch: no module named torch" in text
    assert "goal missed" not in text
