"""A checkpoint that the disk has spoilt while no coordinator ran: seen, told, and worked around."""

import json
from pathlib import Path

import pytest

from tests.integration.flock import Lab, Process, free_address, metrics
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=10)


def train(lab: Lab, run_dir: Path, *flags: str) -> Process:
    """Train to the end with a worker; give the coordinator."""
    address = free_address()
    said = [f"--bind={address}", f"--run-dir={run_dir}", f"--data={lab.data}", *JOB.flags()]
    owner = lab.fork("coordinator", *said, "--checkpoint-every=4", *flags)
    worker = lab.fork("worker", f"--connect={address}")
    assert owner.exit_code() == 0, owner.stderr
    assert worker.exit_code() == 0, worker.stderr
    return owner


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".json", marks=pytest.mark.long)])
def test_a_run_goes_on_from_the_checkpoint_before_the_spoilt_one_and_says_why(
    lab: Lab, suffix: str
) -> None:
    """Bits rot between two sessions of a long run; training on them would be the worst answer."""
    run_dir = lab.directory / "run"
    train(lab, run_dir)
    *_, older, newest = sorted((run_dir / "checkpoints").glob("step-*.json"))
    spoilt = newest.with_suffix(suffix)
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.write_bytes(content)

    owner = train(lab, run_dir, "--resume")

    (reason,) = (line for line in owner.stderr.splitlines() if "passed over" in line)
    assert str(spoilt) in reason
    assert "expected" in reason
    aside = {path.name for path in newest.parent.glob("*.bad")}
    assert aside == {f"{newest.name}.bad", f"{newest.stem}.safetensors.bad"}
    assert (newest.parent / f"{spoilt.name}.bad").read_bytes() == content
    assert json.loads(newest.read_text())["previous"] == json.loads(older.read_text())["step"]
    assert JOB.expected().weights_sha256 in owner.stdout
    assert [line["loss"] for line in metrics(run_dir)] == JOB.expected().losses
