"""A coordinator under a swarm: its memory as samples tell it, and a small run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.runs import Settled
from benchmarks.swarm import Memory, Report, Sample, lines_of, memory_of


def sample(step: int, rss_mb: float) -> Sample:
    return Sample(float(step), step, step, 0.0, rss_mb)


@pytest.mark.unit
def test_memory_is_judged_after_a_tenth_of_the_steps() -> None:
    start = [sample(0, 10.0), sample(50, 400.0)]
    late = [sample(step, 100 + step / 100) for step in range(100, 1001, 100)]

    memory = memory_of([*start, *late], 1000)

    assert memory == Memory(101.0, 110.0, 400.0, pytest.approx(10.0))


@pytest.mark.unit
def test_flat_memory_has_no_slope() -> None:
    assert memory_of([sample(step, 90.0) for step in range(100)], 100).slope_mb == 0


@pytest.mark.unit
def test_one_sample_is_enough() -> None:
    assert memory_of([sample(0, 90.0)], 100) == Memory(90.0, 90.0, 90.0, 0.0)


def report(steps: int, memory: Memory) -> str:
    settled = Settled(steps, 0.002, {"reduce": 0.0003, "adam": 0.0001}, 0.002)
    rates = {"steps_per_s": 500.0, "messages_per_s": 64000.0, "cpu_us": 15.0}
    shares = {"coordinator_cpu": 0.97, "swarm_cpu": 0.5}
    said = Report({}, 64, 256, 64, steps, settled, **rates, **shares, memory=memory)
    return "\n".join(lines_of(said))


@pytest.mark.unit
def test_a_report_says_where_the_time_goes() -> None:
    text = report(500, Memory(90.0, 99.0, 99.0, 18.0))

    for part in ("500 steps/s", "64,000 messages/s", "coordinator 97%", "reduce 300, adam 100"):
        assert part in text
    assert "goal" not in text, "so short a run says nothing about memory"


@pytest.mark.unit
def test_growth_in_a_long_run_is_judged() -> None:
    assert "goal met: memory grew by 0.5 MB" in report(10_000, Memory(90.0, 90.5, 91.0, 0.05))
    assert "goal missed: memory grew by 9.0 MB" in report(10_000, Memory(90.0, 99.0, 99.0, 1.0))


@pytest.mark.integration
def test_a_swarm_trains_a_run_to_its_end(tmp_path: Path) -> None:
    flags = ["--workers=3", "--shards=4", "--batch=8", "--steps=150", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.swarm", *flags, f"--directory={tmp_path}"],
        capture_output=True,
        check=True,
    )

    report = json.loads(done.stdout)
    assert (report["workers"], report["shards"], report["steps"]) == (3, 4, 150)
    assert report["settled"]["steps"] > 0
    assert report["messages_per_s"] > 0
    assert report["memory"]["end_mb"] > 10
    assert not list(tmp_path.iterdir())


@pytest.mark.integration
def test_a_worker_without_a_shard_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.swarm", "--workers=9", "--shards=8"]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 2
    assert "expected a shard for each of 9 workers: 8" in done.stderr
