"""Runs that are nothing but their metrics.jsonl, and commands typed on them."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import main

PHASES = {"broadcast": 0.001, "compute": 0.006, "collect": 0.002, "adam": 0.001}


def step_line(step: int, **more: Any) -> dict[str, Any]:
    """A line as runs of version 0.1.0 wrote it, and what more it is to have."""
    return {
        "step": step,
        "loss": 2 + 1 / step,
        "documents": 64,
        "seconds": 0.01,
        "workers": 2,
        "learning_rate": 0.01 / step,
        **more,
    }


def rich_line(step: int, **more: Any) -> dict[str, Any]:
    """A line with all that the contract knows."""
    return step_line(
        step,
        held_out_loss=2.125 + 1 / step,
        bytes_sent=1000 + step,
        bytes_received=2000 + step,
        phases=PHASES,
        grad_norms={"wte": 0.5 / step, "layer0.attn_wq": 0.25},
        **more,
    )


def text_of(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_run(path: Path, *lines: dict[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.jsonl").write_text(text_of(*lines))
    return path


def ended(*arguments: object) -> int:
    """Type a command, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main([str(argument) for argument in arguments])
    assert isinstance(ending.value.code, int)
    return ending.value.code
