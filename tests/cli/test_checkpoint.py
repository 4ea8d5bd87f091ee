"""`gradflock checkpoint` as people type it: what is listed and verified."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from cli.checkpoint_facts import entries
from cli.main import main
from coordinator.checkpoint import Checkpoint
from coordinator.run_directory import RunDirectory
from tests.cli.checkpoints import (
    SAVED,
    damage,
    ended,
    evaluate,
    printed,
    printed_json,
    refusal,
    resave,
)

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_directory")]


# ---- ls -----------------------------------------------------------------------------------------


def test_checkpoints_are_listed_newest_first_and_the_one_to_resume_from_is_marked(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    resave(run, step=3)
    evaluate(run, 6, 7 / 3)

    six, three = (run.checkpoints.load(step).weights_sha256[:12] for step in (6, 3))
    six_bytes, three_bytes = (run.checkpoints.paths(s)[0].stat().st_size for s in (6, 3))
    assert printed(capsys, "ls") == [
        "  step    loss  held-out   bytes  saved                weights",
        f"*    6  0.6667    2.3333  {six_bytes:>6,}  2026-11-21 17:14:13  {six}  ok",
        f"     3  1.2500         -  {three_bytes:>6,}  2026-11-21 17:14:13  {three}  ok",
        "",
        "* what a run that is resumed goes on from",
    ]


def test_a_damaged_checkpoint_stands_in_the_list_with_its_reason(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 6)

    _, six, reason, three, *_ = printed(capsys, "ls")

    assert six.split()[:3] == ["6", "-", "-"]
    assert six.endswith("  -             not valid")
    assert reason.startswith("    expected ")
    assert " with sha256 " in reason
    assert len(reason) <= 80
    assert three.startswith("*    3")


def test_a_step_whose_tensors_are_gone_is_not_valid(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.checkpoints.paths(6)[0].unlink()

    [six, _] = printed_json(capsys, "ls")["checkpoints"]

    assert (six["valid"], six["bytes"]) == (False, None)
    assert six["problem"] == "expected a checkpoint, got No such file or directory"


def test_without_a_valid_checkpoint_none_is_marked(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (3, 6):
        damage(run, step)

    lines = printed(capsys, "ls")

    assert lines[-1] == "none is valid"
    assert not any(line.startswith("*") for line in lines)


def test_files_that_were_set_aside_are_named(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.checkpoints.set_aside_after(3)

    lines = printed(capsys, "ls")

    assert lines[-3:] == [
        "set aside as not valid, in run/checkpoints:",
        "    step-00000006.json.bad",
        "    step-00000006.safetensors.bad",
    ]
    assert len(printed_json(capsys, "ls")["set_aside"]) == 2


def test_a_revoked_step_is_not_what_a_run_would_go_on_from(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bytes are whole, but a crash came between the mark and its removal."""
    (run.path / "REVOKED").write_text("3")

    lines = printed(capsys, "ls")

    assert "one that is revoked" in " ".join(lines)
    assert any(line.startswith("*    3") for line in lines)
    assert printed_json(capsys, "show")["step"] == 3
    assert "revoked" in refusal(capsys, "show", "6", code=1)


def test_a_list_is_one_json_object(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(run, 6, 7 / 3)

    values = printed_json(capsys, "ls")

    six, three = values["checkpoints"]
    saved = six.pop("saved")
    assert six == {
        "step": 6,
        "valid": True,
        "problem": None,
        "loss": 2 / 3,
        "held_out_loss": 7 / 3,
        "bytes": run.checkpoints.paths(6)[0].stat().st_size,
        "weights_sha256": run.checkpoints.load(6).weights_sha256,
    }
    assert datetime.fromisoformat(saved) == SAVED.astimezone()
    assert three["step"] == 3


def test_a_held_out_loss_that_is_not_finite_is_named_so_and_null(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(run, 6, float("nan"))

    assert "not finite" in printed(capsys, "ls")[1]
    assert printed_json(capsys, "show")["held_out_loss"] is None


def test_a_step_that_is_pruned_meanwhile_is_passed_over(run: RunDirectory) -> None:
    assert [entry.step for entry in entries(run, [6, 5, 3])] == [6, 3]


@pytest.mark.parametrize("command", ["ls", "show", "verify", "export"])
def test_a_directory_without_checkpoints_is_one_error(
    command: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = ["out"] if command == "export" else []
    run.checkpoints.remove_after(-1)
    (run.checkpoints.path / "step-00000009.json.bad").touch()

    line = refusal(capsys, command, *destination)

    assert "expected a run with a checkpoint, got none (1 set aside as not valid) — run;" in line
    assert "got none — other;" in refusal(capsys, command, *destination, "--run-dir", "other")


def test_while_a_coordinator_holds_the_run_all_can_be_read_and_nothing_is_written(
    run: RunDirectory,
) -> None:
    with run.lock():
        before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
        codes = [ended(command) for command in ("ls", "show", "verify")]
        after = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    assert codes == [0, 0, 0]
    assert after == before


# ---- where the run is ---------------------------------------------------------------------------


def test_the_run_directory_is_that_of_the_command_then_of_the_group_then_said_otherwise(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.toml").write_text('steps = 5\nrun-dir = "for-all"\n[checkpoint]\nrun-dir = "in-file"\n')
    typed = ["--config", "c.toml", "checkpoint"]

    def looked_in(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main([*typed, *arguments])
        return capsys.readouterr().err.partition(" — ")[2].partition(";")[0]

    assert looked_in("ls") == "in-file"
    monkeypatch.setenv("GRADFLOCK_RUN_DIR", "in-variable")
    assert looked_in("ls") == "in-variable"
    assert looked_in("--run-dir", "of-group", "ls") == "of-group"
    assert looked_in("--run-dir", "of-group", "ls", "--run-dir", "of-command") == "of-command"


def test_by_default_it_is_the_newest_under_runs(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed() -> object:
        with pytest.raises(SystemExit) as ending:
            main(["checkpoint", "verify"])
        return ending.value.code

    assert typed() == 2
    assert "expected a run under ./runs, got none" in capsys.readouterr().err
    Path("runs").mkdir()
    run.path.rename("runs/one")
    assert typed() == 0
    assert capsys.readouterr().out.endswith(" — runs/one/checkpoints\n")


# ---- verify -------------------------------------------------------------------------------------


def test_a_run_whose_checkpoints_are_whole_is_verified_a_line_each(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    six, three, summary = printed(capsys, "verify")

    assert six.startswith("step 6  ok: ")
    assert three.endswith(f"weights sha256 {run.checkpoints.load(3).weights_sha256[:12]}")
    assert summary == "2 checkpoints verified: all valid — run/checkpoints"


def test_one_that_is_not_valid_ends_with_one_and_its_reason(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 3)

    six, three, summary = printed(capsys, "verify", code=1)

    assert six.startswith("step 6  ok: ")
    assert three.startswith("step 3  not valid: expected ")
    assert summary == "2 checkpoints verified: 1 not valid — run/checkpoints"


def test_only_the_steps_that_are_named_are_verified_once_each(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 3)

    lines = printed(capsys, "verify", "6", "6")

    assert len(lines) == 2
    assert lines[1] == "1 checkpoint verified: valid — run/checkpoints"


def test_a_step_that_is_named_and_pruned_meanwhile_was_not_verified(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resave(run, step=9)
    prune_when_read(run, 9, monkeypatch, last=3)

    nine, six, three, summary = printed(capsys, "verify", "9", "6", "3", code=1)

    for step, line in ((9, nine), (6, six)):
        assert line.startswith(f"step {step}  not valid: expected step {step} to stay, got it rem")
    assert three.startswith("step 3  ok: ")
    assert summary == "3 checkpoints verified: 2 not valid — run/checkpoints"


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_when_all_steps_are_pruned_meanwhile_those_that_came_are_read(
    command: str,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    newer = replace(run.checkpoints.load(6), step=9)
    prune_when_read(run, 6, monkeypatch, last=-1, newer=newer)

    [nine] = printed_json(capsys, command)["checkpoints"]

    assert (nine["step"], nine["valid"]) == (9, True)


def prune_when_read(
    run: RunDirectory,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
    last: int,
    newer: Checkpoint | None = None,
) -> None:
    """Have a run remove what comes after `last`, and save, at the moment when a step is read."""
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == f"step-{step:08d}.json" and path.exists():
            with run.lock():
                run.checkpoints.remove_after(last)
                if newer is not None:
                    run.checkpoints.save(newer)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


def test_a_verification_is_one_json_object_with_the_same_exit_code(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run, 3)

    values = printed_json(capsys, "verify", "3", "6", code=1)

    seen = values["checkpoints"]
    assert [(one["step"], one["valid"]) for one in seen] == [(3, False), (6, True)]


# ---- what is typed wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["show", "5"], ["verify", "6", "5"], ["export", "out", "--step", "5"]]
)
def test_a_step_that_is_not_saved_is_refused_and_those_that_are_named(
    arguments: Sequence[str], run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expected a step that is saved (6, 3), got 5 — run" in refusal(capsys, *arguments)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "six"], "expected the number of a step, got 'six'"),
        (["verify", "1.5"], "expected the number of a step, got '1.5'"),
        (["export", "out", "--step", "-1"], "expected the number of a step, got '-1'"),
        (["export", "out", "--format", "pickle"], "'pickle' is not one of"),
        (["export"], "Missing argument 'DESTINATION'"),
        (["prune"], "No such command"),
    ],
)
def test_what_cannot_be_meant_ends_with_two(
    arguments: Sequence[str],
    expected: str,
    run: RunDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(*arguments) == 2
    assert expected in capsys.readouterr().err
