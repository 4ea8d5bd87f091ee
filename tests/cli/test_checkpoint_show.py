"""`gradflock checkpoint show`: all that a checkpoint holds but its numbers."""

import json
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from cli.checkpoint_facts import details
from coordinator.errors import RunDirectoryError
from coordinator.run_directory import RunDirectory
from engine.optimizer import Moments
from tests.cli.checkpoints import (
    damage,
    ended,
    evaluate,
    printed,
    printed_json,
    refusal,
    resave,
)

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_directory")]


def test_a_checkpoint_is_shown_with_all_that_it_holds(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(run, 6, 7 / 3)

    lines = printed(capsys, "show")

    checkpoint = run.checkpoints.load(6)
    record = json.loads(run.checkpoints.paths(6)[1].read_bytes())
    dataset = checkpoint.dataset
    assert lines == [
        f"run             {'5f' * 16}",
        "step            6 of 9, goes on in epoch 3 at position 1",
        "loss            0.6667, held-out 2.3333",
        f"dataset         {dataset.name}, 7 documents, sha256 {dataset.sha256[:12]}",
        "vocabulary      3 tokens: ab, BOS",
        "parameters      92",
        "model           vocab_size 3  n_layer 1  n_embd 2  n_head 1  block_size 16",
        "                activation relu  norm rms",
        "train           steps 9  batch_size 2  shards 1  seed 42  engine compiled",
        "                learning_rate 0.01  beta1 0.85  beta2 0.99  epsilon 1e-08",
        "                schedule linear  warmup_steps 0  held_out 0.4",
        "numerics        exact",
        f"fingerprint     {'ab' * 32}",
        "contributors    2  w0-11be since step 1  w1-7f3a since step 5",
        "previous        step 3",
        "saved           2026-11-21 17:14:13",
        "file            run/checkpoints/step-00000006.safetensors",
        f"                {record['bytes']:,} bytes",
        f"sha256          {record['sha256']}",
        f"weights sha256  {checkpoint.weights_sha256}",
        "",
        "tensors, and of the same shapes adam.m.* and adam.v.*",
        "  wte                  3 x 2",
        "  wpe                 16 x 2",
        "  lm_head              3 x 2",
        "  layer0.attn_wq       2 x 2",
        "  layer0.attn_wk       2 x 2",
        "  layer0.attn_wv       2 x 2",
        "  layer0.attn_wo       2 x 2",
        "  layer0.mlp_fc1       8 x 2",
        "  layer0.mlp_fc2       2 x 8",
    ]


def test_what_a_checkpoint_does_not_know_is_not_made_up(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    resave(run, step=0, loss=None, has_exact_numerics=False)

    lines = printed(capsys, "show", "0")

    for line in (
        "step            0 of 9, without a cursor",
        "loss            -",
        "numerics        accepted: bits are no promise",
        "fingerprint     -",
        "contributors    none",
        "previous        none",
    ):
        assert line in lines


def test_control_characters_of_a_vocabulary_do_not_reach_the_terminal(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "".join(map(chr, range(27, 200)))
    model = replace(run.checkpoints.load(3).model, vocab_size=len(long) + 1)
    params = array("d", bytes(8 * model.num_params))
    moments = Moments.zeros(model.num_params)
    resave(run, step=7, model=model, characters=long, params=params, moments=moments)

    lines = printed(capsys, "show")

    [line] = [line for line in lines if line.startswith("vocabulary")]
    assert line.startswith("vocabulary      174 tokens: '\\x1b\\x1c")
    assert line.endswith("..., BOS")


def test_a_checkpoint_is_one_json_object(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    values = printed_json(capsys, "show", "6")

    checkpoint = run.checkpoints.load(6)
    assert values["run"] == checkpoint.run
    assert values["cursor"] == {"epoch": 3, "position": 1}
    assert values["loss"] == checkpoint.loss
    assert values["held_out_loss"] is None
    assert values["characters"] == "ab"
    assert values["num_params"] == checkpoint.model.num_params
    assert values["exact_numerics"] is True
    assert values["contributors"] == {"w0-11be": 0, "w1-7f3a": 4}
    assert values["weights_sha256"] == checkpoint.weights_sha256
    assert values["tensors"]["layer0.mlp_fc1"] == [8, 2]


def test_by_default_the_newest_valid_one_is_shown_and_what_was_passed_over_is_said(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 6)

    assert ended("show") == 0

    captured = capsys.readouterr()
    assert "\nstep            3 of 9, " in captured.out
    assert captured.err.startswith("passed over a checkpoint: expected ")


def test_a_damaged_checkpoint_that_is_asked_for_is_not_shown(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 6)

    line = refusal(capsys, "show", "6", code=1)

    assert "with sha256" in line
    assert line.endswith("step-00000006.safetensors")


def test_a_checkpoint_that_is_pruned_while_it_is_looked_at_gives_way_to_another(
    run: RunDirectory,
) -> None:
    resave(run, step=9)
    damage(run, 9)

    found = details(run, None, lambda _: run.checkpoints.remove_after(3))

    assert found.checkpoint == run.checkpoints.load(3)


def test_a_step_that_is_named_and_pruned_while_it_is_read_is_named(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == run.checkpoints.paths(6)[1]:
            run.checkpoints.remove_after(3)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)

    with pytest.raises(RunDirectoryError, match="expected step 6 to stay, got it removed"):
        details(run, 6, print)
