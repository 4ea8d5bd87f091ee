"""Checkpoints of a small run, and a run directory that holds some."""

import errno
import json
import os
import random
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.run_directory import RunDirectory
from engine.optimizer import Moments
from tests.coordinator.scenario import small_run


def checkpoint(step: int = 3, **fields: object) -> Checkpoint:
    run = small_run(steps=9)
    rng = random.Random(step)
    rng.gauss(0, 1)  # leaves half a pair of normal numbers in the state
    vectors = [
        array("d", (rng.uniform(-1, 1) for _ in range(run.model.num_params))) for _ in range(3)
    ]
    vectors[0][0], vectors[0][1] = -0.0, 5e-324
    made = Checkpoint(
        run="5f" * 16,
        step=step,
        loss=2.0 / 3.0,
        model=run.model,
        train=run.train,
        dataset=DatasetRecord("/data/é.txt", 7, "ab" * 32),
        characters="ab",
        rng_state=rng.getstate(),
        params=vectors[0],
        moments=Moments(vectors[1], vectors[2]),
    )
    return replace(made, **fields)


def directory(path: Path, *steps: int) -> RunDirectory:
    """A run directory that holds checkpoints of these steps."""
    made = RunDirectory(path / "run")
    with made.lock():
        for step in steps:
            made.checkpoints.save(checkpoint(step))
    return RunDirectory(made.path)


def data_file(made: RunDirectory, step: int) -> Path:
    return made.checkpoints.path / f"step-{step:08d}.safetensors"


def record_file(made: RunDirectory, step: int) -> Path:
    return made.checkpoints.path / f"step-{step:08d}.json"


def rewrite(record: Path, **fields: object) -> None:
    """Change a record as one who knows its format; None takes a field away."""
    values = {**json.loads(record.read_bytes()), **fields, "record_sha256": None}
    record.write_text(json.dumps({k: value for k, value in values.items() if value is not None}))


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, part: str) -> None:
    """Have the disk refuse a call whose last file has that in its name."""
    original = getattr(os, call)

    def refused(*paths: Path) -> None:
        if part in Path(paths[-1]).name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(*paths)

    monkeypatch.setattr(os, call, refused)
