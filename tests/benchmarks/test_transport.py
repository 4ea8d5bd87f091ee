"""Round trips are timed by turns, over every way that is open."""

import json
import subprocess
import sys

import pytest

from benchmarks.timing import Spread
from benchmarks.transport import ROWS, Line, line_of, time_trips


@pytest.mark.unit
def test_every_round_times_every_row_and_begins_with_another() -> None:
    order = []

    def row(name: str, count: int) -> list[float]:
        order.append(name)
        return [1.0] * count

    rows = {name: lambda count, name=name: row(name, count) for name in "abc"}
    taken = time_trips(rows, 3, 2)  # type: ignore[arg-type]

    assert order == [*"abc", *"bca", *"cab"]
    assert taken == [{name: [1.0, 1.0] for name in "abc"}] * 3


@pytest.mark.unit
def test_a_line_has_the_medians_of_rounds_and_the_tenths_of_all_trips() -> None:
    line = line_of("both", [[1e-6, 2e-6, 9e-6], [3e-6, 4e-6, 5e-6]])

    assert line == Line("both", Spread(*map(pytest.approx, (3, 2, 4))), line.p10_us, line.p90_us)
    assert line.p10_us < 2 < 5 < line.p90_us


@pytest.mark.integration
def test_every_way_is_measured() -> None:
    flags = ["--rounds=1", "--count=3", "--no-torch", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.transport", *flags], capture_output=True, check=True
    )

    report = json.loads(done.stdout)
    assert [line["name"] for line in report["lines"]] == [*ROWS]
    assert all(line["median_us"]["median"] > 0 for line in report["lines"])
    assert report["torch"] == "--no-torch"
