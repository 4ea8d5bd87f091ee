"""The held-out loss of a run: on the line of every step that is saved, whatever ends the run."""

import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from coordinator.run_directory import RunDirectory
from engine.engines import engine_of
from engine.evaluate import held_out_loss
from engine.run import prepare_run
from tests.integration.flock import Lab, Train, checkpointed_step
from tests.integration.oracle import DOCUMENTS, Job

pytestmark = pytest.mark.integration

JOB = Job(held_out=0.2)
FLAGS = ["--workers=2", "--checkpoint-every=10"]


@pytest.fixture(scope="module")
def whole(shared_lab: Lab) -> Train:
    """The job from its first step to its last; whoever changes its directory takes a copy."""
    train = shared_lab.train(JOB, *FLAGS)
    train.summary()
    return train


def evaluated(run_dir: Path, step: int) -> float:
    """Evaluate a checkpoint in this process."""
    checkpoint = RunDirectory(run_dir).checkpoints.load(step)
    shape = asdict(checkpoint.model)
    del shape["vocab_size"]
    run = prepare_run(DOCUMENTS, checkpoint.train, shape)
    engine = engine_of(checkpoint.train.engine, checkpoint.model)
    return held_out_loss(engine, checkpoint.params, run.held_out)


def held_out(train: Train) -> dict[int, Any]:
    """The held-out losses in metrics.jsonl, by step."""
    return {
        line["step"]: line["held_out_loss"] for line in train.metrics() if "held_out_loss" in line
    }


def assert_every_step_has_its_line(train: Train) -> None:
    assert [line["step"] for line in train.metrics()] == list(range(1, JOB.steps + 1))
    assert train.losses() == JOB.expected().losses


def test_metrics_hold_the_held_out_loss_of_each_saved_step_bit_for_bit(whole: Train) -> None:
    """A held-out loss of other parameters than those of its line would be a quiet lie."""
    assert_every_step_has_its_line(whole)
    losses = held_out(whole)
    assert list(losses) == [10, 20, 30]
    assert {step: evaluated(whole.run_dir, step) for step in losses} == losses
    assert whole.summary()["held_out_loss"] == losses[30]
    last_line = next(line for line in whole.stderr.splitlines() if "step 30/30" in line)
    assert f"  held-out {losses[20]:.4f} (step 20)  " in last_line  # that of step 30 is yet to come


def test_a_run_without_held_out_documents_has_no_held_out_loss(lab: Lab) -> None:
    """No number is better than one of nothing."""
    train = lab.train(Job(steps=6), *FLAGS)

    assert "held_out_loss" not in train.summary()
    assert held_out(train) == {}


@pytest.mark.long
def test_a_run_whose_coordinator_is_killed_has_the_held_out_losses_of_one_that_is_not(
    lab: Lab,
) -> None:
    """Lines wait for their evaluation in memory: a crash must cost none, and repeat none."""
    train = lab.train(JOB, *FLAGS)
    train.wait_for_step(13)

    os.kill(train.child("coordinator"), signal.SIGKILL)

    assert train.summary()["held_out_loss"] == evaluated(train.run_dir, 30)
    assert_every_step_has_its_line(train)
    assert list(held_out(train)) == [10, 20, 30]
    assert "starting it again" in train.stderr


def test_a_stopped_run_tells_the_held_out_loss_of_the_step_it_has_saved(lab: Lab) -> None:
    """A small model is evaluated within the second that a stop may wait."""
    train = lab.train(JOB, *FLAGS)
    train.wait_for_step(13)

    train.send(signal.SIGTERM)

    step = checkpointed_step(train.run_dir) if train.exit_code() == 0 else -1
    assert held_out(train)[step] == evaluated(train.run_dir, step)
    assert train.summary()["held_out_loss"] == held_out(train)[step]
    again = lab.train(JOB, *FLAGS, "--resume", run_dir=train.run_dir)
    again.summary()
    assert_every_step_has_its_line(again)
    assert sorted({10, 20, 30, step}) == list(held_out(again))


def test_a_resumed_run_makes_up_for_an_evaluation_that_it_did_not_wait_for(
    lab: Lab, whole: Train
) -> None:
    """A stop that was in a hurry leaves a last line without the key; nothing else is repeated."""
    run_dir = shutil.copytree(whole.run_dir, lab.directory / "copy")
    path = run_dir / "metrics.jsonl"
    before = path.read_text()
    path.write_text(before[: before.rindex(', "held_out_loss"')] + "}\n")

    again = lab.train(JOB, *FLAGS, "--resume", run_dir=run_dir)

    assert again.summary()["held_out_loss"] == held_out(whole)[30]
    assert path.read_text() == before
