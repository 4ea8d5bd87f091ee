"""Real runs for benchmarks: a coordinator and workers on loopback, and what its metrics tell."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import ONE_THREAD
from cli.cores import seats, usable_cores

LOG = "log"  # of the coordinator, in the run directory: its facts, as JSON
WAIT_S = 60.0  # for a coordinator to be bound, a worker to leave
WARM_UP_STEPS = 10  # not counted: they wait for the workers

Lines = Sequence[dict[str, Any]]  # of metrics.jsonl


@dataclass(frozen=True, slots=True)
class Settled:
    """The steps of a run from when all its workers had joined, and a few after that.

    Attributes:
        steps: how many there are.
        step_s: the median step.
        phases_s: the median of each phase of a step; empty if the run does not tell.
        overhead_s: the median of all but the phase `compute`; None likewise.
    """

    steps: int
    step_s: float
    phases_s: dict[str, float]
    overhead_s: float | None


@dataclass(frozen=True, slots=True)
class Trained:
    """One run.

    Attributes:
        steps_per_s: from its first committed step to its last.
        worst_step_ms: the longest of them.
        saves: how many steps were made durable.
        save_ms: how long each of them took, beside the loop.
        settled: its steps without joins.
    """

    steps_per_s: float
    worst_step_ms: float
    saves: int
    save_ms: list[float]
    settled: Settled


def train(
    run_dir: Path, flags: Sequence[str], workers: int = 1, worker_flags: Sequence[str] = ()
) -> Trained:
    """Train as `gradflock train` does, without its sampler, to the end."""
    placed = seats(usable_cores(), workers)
    coordinator, address = start_coordinator(run_dir, [*flags, *_pin(placed.coordinator)])
    pins = [_pin(core) for core in placed.workers]
    names = [f"--name=worker-{number}" for number in range(1, workers + 1)]  # as they are served
    crew = [
        _start(["worker", f"--connect={address}", name, *pin, *worker_flags], subprocess.DEVNULL)
        for name, pin in zip(names, pins, strict=True)
    ]
    code = coordinator.wait()
    for worker in crew:
        worker.wait(WAIT_S)
    if code:
        raise SystemExit(f"expected a run to its end, got: {_said(run_dir)}")
    facts = [json.loads(line) for line in (run_dir / LOG).read_text().splitlines()]
    return _trained(metrics_of(run_dir), facts, workers)


def _pin(core: int | None) -> list[str]:
    return [] if core is None else [f"--core={core}"]


def start_coordinator(run_dir: Path, flags: Sequence[str]) -> tuple["subprocess.Popen[bytes]", str]:
    """Start a coordinator in a new directory; give it with its address."""
    run_dir.mkdir()
    address = run_dir / "address"
    said = ["coordinator", f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0", "--data=bundled"]
    said += [f"--address-file={address}", "--log-format=json", *flags]
    with (run_dir / LOG).open("wb") as file:
        coordinator = _start(said, file.fileno())
    deadline_s = time.monotonic() + WAIT_S
    while not address.exists():
        if coordinator.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"expected a coordinator, got: {_said(run_dir)}")
        time.sleep(0.01)
    return coordinator, address.read_text().strip()


def metrics_of(run_dir: Path) -> Lines:
    """Read what a run has written about its steps."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def settled(lines: Lines, workers: int) -> Settled:
    """Look at the steps of a run after all its workers have joined.

    Raises:
        SystemExit: there is none.
    """
    begun = [i for i, line in enumerate(lines) if line["workers"] == workers]
    counted = lines[begun[0] + WARM_UP_STEPS :] if begun else []
    if not counted:
        raise SystemExit(
            f"expected steps with all of {workers} workers, got none in {len(lines)} steps"
            " — a run ends before they have joined; give more --steps"
        )
    told = [line for line in counted if "phases" in line]
    names = told[0]["phases"] if told else ()
    return Settled(
        steps=len(counted),
        step_s=median(line["seconds"] for line in counted),
        phases_s={name: median(line["phases"][name] for line in told) for name in names},
        overhead_s=median(line["seconds"] - line["phases"]["compute"] for line in told)
        if told
        else None,
    )


def _said(run_dir: Path) -> str:
    return (run_dir / LOG).read_text()[-300:]


def _start(arguments: list[str], stderr: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "cli", *arguments]
    environment = os.environ | ONE_THREAD
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


def _trained(lines: Lines, facts: list[dict[str, Any]], workers: int) -> Trained:
    seconds = [line["seconds"] for line in lines[WARM_UP_STEPS:]]
    elapsed_s = 0.0
    for one in seconds:
        elapsed_s += one
    saves = [fact for fact in facts if fact.get("fact") == "CheckpointDurable"]
    return Trained(
        steps_per_s=len(seconds) / elapsed_s,
        worst_step_ms=1e3 * max(seconds),
        saves=len(saves),
        save_ms=[1e3 * fact["seconds"] for fact in saves],
        settled=settled(lines, workers),
    )
