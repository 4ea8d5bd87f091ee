"""A run with checkpoints in it, and `gradflock checkpoint` typed on it."""

import json
import os
from array import array
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from coordinator.checkpoint import Checkpoint
from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from coordinator.store import Keep
from engine.shards import Cursor
from tests.cli.runs import FLAGS, plan_of, save

SAVED = datetime(2026, 11, 21, 17, 14, 13)


def saved_run(path: Path) -> RunDirectory:
    """A run with checkpoints after 3 and 6 steps, the last with all that one may hold."""
    plan, _ = plan_of(path, **{**FLAGS, "held_out": 0.4})
    directory = save(path, plan, 3)
    params = array("d", directory.checkpoints.load(3).params)
    params[0], params[1], params[2] = -0.0, 5e-324, 1 / 3
    resave(
        directory,
        step=6,
        loss=2 / 3,
        params=params,
        cursor=Cursor(3, 1),
        contributors={"w1-7f3a": 4, "w0-11be": 0},
        fingerprint="ab" * 32,
    )
    return directory


def resave(directory: RunDirectory, **fields: Any) -> Checkpoint:
    """Save the checkpoint of step 3 once more, with other fields."""
    made = replace(directory.checkpoints.load(3), **fields)
    with directory.lock():
        directory.checkpoints.save(made, Keep(100))
    for path in directory.checkpoints.paths(made.step):
        os.utime(path, (SAVED.timestamp(), SAVED.timestamp()))
    return made


def damage(directory: RunDirectory, step: int) -> None:
    data_path, _ = directory.checkpoints.paths(step)
    data = bytearray(data_path.read_bytes())
    data[-1] ^= 1
    data_path.write_bytes(data)


def evaluate(directory: RunDirectory, step: int, held_out_loss: float) -> None:
    with Metrics(directory.metrics, 0) as metrics:
        metrics.append(StepCommitted(step, 2 / 3, 2, 0.5, 2, 0.01))
        metrics.hold(step)
        metrics.complete(step, held_out_loss)


def ended(*arguments: str) -> int:
    """Type a command on the run, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(["checkpoint", "--run-dir", "run", *arguments])
    assert isinstance(ending.value.code, int)
    return ending.value.code


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[str]:
    assert ended(*arguments) == code
    return capsys.readouterr().out.splitlines()


def printed_json(
    capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0
) -> dict[str, Any]:
    [line] = printed(capsys, *arguments, "--json", code=code)
    values = json.loads(line)
    assert isinstance(values, dict)
    return values


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Give the only line that is said; nothing is printed as a result."""
    assert ended(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("gradflock: ")
    return str(line)
