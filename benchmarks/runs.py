"""Real runs for benchmarks: a coordinator and workers on loopback, and what its metrics tell."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import ONE_THREAD

WAIT_S = 60.0  # for a coordinator to be bound, a worker to leave
WARM_UP_STEPS = 10  # not counted: they wait for the workers


@dataclass(frozen=True, slots=True)
class Trained:
    """One run.

    Attributes:
        steps_per_s: from its first committed step to its last.
        worst_step_ms: the longest of them.
        saves: how many steps were made durable.
        save_ms: how long each of them took, beside the loop.
    """

    steps_per_s: float
    worst_step_ms: float
    saves: int
    save_ms: list[float]


def train(
    run_dir: Path, flags: Sequence[str], workers: int = 1, worker_flags: Sequence[str] = ()
) -> Trained:
    """Train with a coordinator and workers of this machine, to the end."""
    run_dir.mkdir()
    address = run_dir / "address"
    said = ["coordinator", f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0", "--data=bundled"]
    said += [f"--address-file={address}", "--log-format=json", *flags]
    log = run_dir / "log"
    with log.open("wb") as file:
        coordinator = _start(said, file.fileno())
        deadline_s = time.monotonic() + WAIT_S
        while not address.exists():
            if coordinator.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"expected a coordinator, got: {log.read_text()[-300:]}")
            time.sleep(0.01)
        connect = f"--connect={address.read_text().strip()}"
        crew = [
            _start(["worker", connect, *worker_flags], subprocess.DEVNULL) for _ in range(workers)
        ]
    code = coordinator.wait()
    for worker in crew:
        worker.wait(WAIT_S)
    if code:
        raise SystemExit(f"expected a run to its end, got: {log.read_text()[-300:]}")
    return _trained(run_dir, [json.loads(line) for line in log.read_text().splitlines()])


def _start(arguments: list[str], stderr: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "cli", *arguments]
    environment = os.environ | ONE_THREAD
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


def _trained(run_dir: Path, facts: list[dict[str, Any]]) -> Trained:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
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
    )
