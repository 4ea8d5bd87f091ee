"""What is printed when a run has ended, or was stopped."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cli.summary import print_summary
from coordinator.checkpoint import RunDirectory
from coordinator.errors import RunDirectoryError
from sampler.model import ServedModel
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

    checkpoint = RunDirectory(tmp_path / "run").load(9)
    rng = random.Random()
    rng.setstate(checkpoint.rng_state)
    names = [ServedModel(checkpoint).draw(rng, 0.5, [], None) for _ in range(20)]
    assert facts == {
        "steps": 9,
        "loss": 1.25,
        "weights_sha256": checkpoint.weights_sha256,
        "run_dir": str(tmp_path / "run"),
        "samples": names,
        "workers": 3,
        "seconds": 12.346,
    }


def test_a_held_out_loss_is_told_where_there_are_such_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(printed(tmp_path, capsys, 9, as_json=True, held_out=0.5))

    assert 0.5 < facts["held_out_loss"] < 3.0


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

    assert "stopped after 4 of 9 steps" in text
    assert f" train --resume --run-dir {tmp_path / 'run'}\n" in text
    assert "names it invents" not in text


def test_a_run_directory_with_a_space_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(tmp_path / "two words", capsys, 4, as_json=False)

    assert f"--run-dir '{tmp_path / 'two words' / 'run'}'" in text


def test_a_run_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, **FLAGS)

    with pytest.raises(RunDirectoryError, match="expected a checkpoint at the end, got none"):
        print_summary(RunDirectory(tmp_path / "run"), plan, 1, 0.5, 1.0, False)
