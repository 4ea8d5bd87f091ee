"""What is printed when a run has ended, or was stopped."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.summary import print_summary
from coordinator.errors import RunDirectoryError
from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from engine.params import as_matrices, layout_of
from engine.sample import sample_tokens
from tests.cli.runs import FLAGS, plan_of, save

pytestmark = pytest.mark.unit


def printed(
    path: Path, capsys: pytest.CaptureFixture[str], step: int, as_json: bool, **flags: Any
) -> str:
    plan, _ = plan_of(path, **{**FLAGS, **flags})
    directory = save(path, plan, step)
    print_summary(directory, plan, 3, 0.5, 12.3456, as_json)
    return capsys.readouterr().out


def test_a_finished_run_is_one_json_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(printed(tmp_path, capsys, 9, as_json=True))

    checkpoint = RunDirectory(tmp_path / "run").checkpoints.load(9)
    rng = random.Random()
    rng.setstate(checkpoint.rng_state)
    matrices = as_matrices(layout_of(checkpoint.model), checkpoint.params.tolist())
    tokens = [sample_tokens(checkpoint.model, matrices, rng, 0.5) for _ in range(20)]
    names = ["".join(checkpoint.characters[token] for token in one) for one in tokens]
    assert facts == {
        "steps": 9,
        "loss": 1.25,
        "weights_sha256": checkpoint.weights_sha256,
        "run_dir": str(tmp_path / "run"),
        "samples": names,
        "workers": 3,
        "seconds": 12.346,
        "exact_numerics": True,
    }


def test_a_run_that_let_other_arithmetic_in_says_so_beside_its_sha256(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _ = plan_of(tmp_path, **FLAGS)
    directory = save(tmp_path, plan, 9)
    exact = directory.checkpoints.load(9)
    with directory.lock():
        directory.checkpoints.save(replace(exact, has_exact_numerics=False))

    print_summary(directory, plan, 3, 0.5, 12.3456, False)

    line = f"weights  sha256 {exact.weights_sha256} (numerics accepted: "
    assert line in capsys.readouterr().out


def evaluate(path: Path, step: int, held_out_loss: float) -> None:
    """Leave the metrics of a run that was evaluated at its last step."""
    directory = RunDirectory(path / "run")
    with directory.lock():
        directory.next_generation()
    with Metrics(directory.metrics, 0) as metrics:
        metrics.append(StepCommitted(step, 1.25, 8, 0.5, 2, 0.01))
        metrics.hold(step)
        metrics.complete(step, held_out_loss)


@pytest.mark.parametrize("step", [4, 9])
def test_the_held_out_loss_is_that_of_the_newest_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], step: int
) -> None:
    evaluate(tmp_path, step, 7 / 3)

    facts = json.loads(printed(tmp_path, capsys, step, as_json=True, held_out=0.5))

    assert facts["held_out_loss"] == 7 / 3


def test_a_held_out_loss_of_an_older_step_is_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tmp_path, 8, 7 / 3)

    facts = json.loads(printed(tmp_path, capsys, 9, as_json=True, held_out=0.5))

    assert facts["held_out_loss"] is None


@pytest.mark.parametrize(
    ("held_out_loss", "words"),
    [(7 / 3, "loss 1.2500, held-out loss 2.3333\n"), (math.nan, ", held-out loss not finite\n")],
)
def test_people_are_told_the_held_out_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], held_out_loss: float, words: str
) -> None:
    evaluate(tmp_path, 9, held_out_loss)

    assert words in printed(tmp_path, capsys, 9, as_json=False, held_out=0.5)


def test_a_held_out_loss_that_is_not_finite_is_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tmp_path, 9, math.nan)

    facts = json.loads(printed(tmp_path, capsys, 9, as_json=True, held_out=0.5))

    assert facts["held_out_loss"] is None


def test_people_are_not_told_a_held_out_loss_that_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "held-out" not in printed(tmp_path, capsys, 9, as_json=False, held_out=0.5)


def test_a_finished_run_says_its_loss_and_how_to_draw_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(tmp_path, capsys, 9, as_json=False)

    assert "9 steps of 2 documents with 3 workers in 12.3 s: loss 1.2500" in text
    assert f" sample -n 10 --run-dir {tmp_path / 'run'}\n" in text


def test_a_stopped_run_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(tmp_path, capsys, 4, as_json=False)

    assert "stopped; 4 of 9 steps are durable\n" in text
    assert f" train --resume --run-dir {tmp_path / 'run'}\n" in text
    assert "names it invents" not in text


def test_a_longer_run_that_is_stopped_before_it_saves_goes_on_to_its_new_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its newest checkpoint does not know of that end yet."""
    directory = save(tmp_path, plan_of(tmp_path, **FLAGS)[0], 9)
    longer, _ = plan_of(tmp_path, "always", steps=20)

    print_summary(directory, longer, 3, 0.5, 12.3456, False)

    text = capsys.readouterr().out
    assert "9 of 20 steps" in text
    assert f" train --resume --run-dir {directory.path} --steps 20\n" in text


def test_a_run_directory_with_a_space_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(tmp_path / "two words", capsys, 4, as_json=False)

    assert f"--run-dir '{tmp_path / 'two words' / 'run'}'" in text


def test_a_run_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, **FLAGS)

    with pytest.raises(RunDirectoryError, match="expected a checkpoint at the end, got none"):
        print_summary(RunDirectory(tmp_path / "run"), plan, 1, 0.5, 1.0, False)
