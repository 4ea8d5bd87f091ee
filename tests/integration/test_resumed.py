"""Runs that go on: past their end, and on machines that round otherwise."""

import json

import pytest

from coordinator.run_directory import RunDirectory
from tests.integration.flock import Lab, metrics
from tests.integration.libraries import OTHER_EXP, built
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

SHORT, LONGER = Job(steps=6), Job(steps=12)  # eager: its exponentials are the C library's


def test_a_run_goes_on_with_other_arithmetic_only_when_told_to(lab: Lab) -> None:
    """A run directory that is copied to another machine would silently get other bits."""
    run_dir = lab.directory / "run"
    begun = lab.train(LONGER, "--workers=1", "--checkpoint-every=1", run_dir=run_dir)
    begun.wait_for_step(3)
    lab.kill_everybody()
    directory = RunDirectory(run_dir)
    before, _ = directory.checkpoints.newest()
    assert before is not None
    assert before.fingerprint

    elsewhere = {"LD_PRELOAD": str(built(OTHER_EXP, lab.directory / "exp.so"))}
    said = ["train", f"--run-dir={run_dir}", "--resume", "--json", "--workers=1"]
    said += ["--sampler-bind=tcp://127.0.0.1:0"]
    refused = lab.run(*said, **elsewhere)

    assert refused.exit_code() == 1
    (line,) = refused.errors
    assert "expected the arithmetic that the run was trained with" in line
    assert "--accept-numerics" in line
    assert directory.checkpoints.newest() == (before, [])

    accepted = lab.run(*said, "--accept-numerics", **elsewhere)

    assert accepted.exit_code() == 0, accepted.stderr
    summary = json.loads(accepted.stdout)
    assert summary["exact_numerics"] is False
    assert summary["weights_sha256"] != LONGER.expected().weights_sha256
    lines = metrics(run_dir)
    assert [line["step"] for line in lines] == list(range(1, LONGER.steps + 1))
    expected = LONGER.expected().losses
    assert [line["loss"] for line in lines[: before.step]] == expected[: before.step]
    assert [line["loss"] for line in lines] == pytest.approx(expected, rel=1e-9)
    after, _ = directory.checkpoints.newest()
    assert after is not None
    assert after.fingerprint not in ("", before.fingerprint)


def test_at_a_constant_rate_a_run_that_is_made_longer_is_one_that_was_always_so_long(
    lab: Lab,
) -> None:
    run_dir = lab.directory / "run"
    flags = ["--workers=2", "--schedule=constant"]
    whole = lab.train(LONGER, *flags).summary()
    lab.train(SHORT, *flags, run_dir=run_dir).summary()

    longer = lab.train(LONGER, *flags, "--resume", run_dir=run_dir)

    assert longer.summary()["weights_sha256"] == whole["weights_sha256"]
    assert [line["step"] for line in longer.metrics()] == list(range(1, LONGER.steps + 1))
    assert "learning rate" not in longer.stderr


def test_a_falling_rate_goes_on_along_the_longer_schedule_and_says_so(lab: Lab) -> None:
    run_dir = lab.directory / "run"
    lab.train(SHORT, "--workers=2", run_dir=run_dir).summary()

    longer = lab.train(LONGER, "--workers=2", "--resume", run_dir=run_dir)

    assert longer.summary()["steps"] == LONGER.steps
    said = "now falls until step 12, not 6, and goes on at 0.01 instead of 0:"
    assert said in longer.stderr
    rates = [line["learning_rate"] for line in longer.metrics()]
    before = [0.02 * (1 - step / 6) for step in range(6)]
    assert rates == pytest.approx(before + [0.02 * (1 - step / 12) for step in range(6, 12)])
    assert longer.losses()[:6] == SHORT.expected().losses
