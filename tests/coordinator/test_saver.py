"""A save: the lines of its steps reach the disk first, and a disk that refuses is an answer."""

import errno
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.events import Saved, SaveFailed
from coordinator.facts import StepCommitted
from coordinator.files import TEMPORARY
from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from coordinator.saver import Answer, saver
from coordinator.store import RECORD, Keep
from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.run import prepare_run
from tests.coordinator.disk import full_disk

pytestmark = pytest.mark.unit


class Run:
    """A run directory, and the metrics of a run in it that stands at step 1."""

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path)
        self.directory.checkpoints.path.mkdir()
        self.metrics = Metrics(self.directory.metrics, 0)
        self.commit(1)

    def commit(self, step: int) -> None:
        self.metrics.append(StepCommitted(step, 1.5, 8, 0.5, 2, 0.01))

    def save(self, step: int) -> Answer:
        """Save as the loop and its thread do it, one after the other."""
        self.metrics.settle()
        return saver(self.directory, self.metrics, Keep())(checkpoint(step))

    @property
    def lines(self) -> int:
        return len(self.directory.metrics.read_text().splitlines())


def checkpoint(step: int) -> Checkpoint:
    run = prepare_run(["ab"], TrainConfig(99, 1, 1), {"n_embd": 2, "n_head": 1, "block_size": 2})
    size = run.model.num_params
    return Checkpoint(
        run="5f" * 16,
        step=step,
        loss=1.5,
        model=run.model,
        train=run.train,
        dataset=DatasetRecord("names", 1, "ab" * 32),
        characters="ab",
        rng_state=run.rng_state,
        params=array("d", [1.0]) * size,
        moments=Moments.zeros(size),
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    with run.metrics:
        yield run


def name_of(descriptor: int) -> str:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name


def test_metrics_are_on_the_disk_before_anything_of_the_checkpoint_is(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(name_of(descriptor)))

    answer = run.save(1)

    assert isinstance(answer, Saved)
    assert synced[0] == "metrics.jsonl"
    assert sum(name.endswith(RECORD + TEMPORARY) for name in synced) == 1


def test_without_its_lines_no_step_is_saved(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fsync succeeds but that of metrics, which are then written anew."""
    fsync = os.fsync

    def refuse_metrics(descriptor: int) -> None:
        if "metrics.jsonl" in name_of(descriptor):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_metrics)
    answers = [run.save(1)]
    run.commit(2)
    answers.append(run.save(2))

    where = run.directory.metrics
    reason = f"expected room for metrics, got Input/output error — {where}"
    assert answers == [SaveFailed(1, reason), SaveFailed(2, reason)]
    assert run.directory.checkpoints.steps() == []
    monkeypatch.undo()
    assert isinstance(run.save(2), Saved)
    assert (run.directory.checkpoints.steps(), run.lines) == ([2], 2)


def test_a_checkpoint_that_there_is_no_room_for_is_an_answer(run: Run) -> None:
    with full_disk(200):
        answer = run.save(1)

    assert isinstance(answer, SaveFailed)
    assert answer.reason.startswith("expected to save step 1, got File too large — ")
    assert run.lines == 1
