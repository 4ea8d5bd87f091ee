"""A run that was begun here goes on where numbers are rounded otherwise, if that is asked for."""

import json

import pytest

from coordinator.run_directory import RunDirectory
from tests.integration.flock import Lab, metrics
from tests.integration.libraries import OTHER_EXP, built
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=6)  # eager: its exponentials are the C library's
LONGER = Job(steps=12)


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
