"""A disk whose fsync takes long, or never ends: training does not wait for it, nor does a stop."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.flock import Lab, Process, free_address, metrics, wait_until
from tests.integration.libraries import SLOW_FSYNC, built
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=1_000_000, batch_size=64, n_embd=16, n_head=4, engine="compiled")
FSYNC_S = 0.4  # of which a save takes six
STUCK_S = 60.0
FAILURE, REFUSED = 1, 78


class SlowDisk:
    """A coordinator on a disk that can be made slow, and one worker."""

    def __init__(self, lab: Lab, *flags: str) -> None:
        self._lab, self._flags = lab, flags
        self._switch = lab.directory / "slow"
        self._library = built(SLOW_FSYNC, lab.directory / "fsync.so")
        self.address, self.run_dir = free_address(), lab.directory / "run"
        self.coordinator = self.start()
        self.worker = lab.fork("worker", f"--connect={self.address}", "--name=w1")
        self.wait_for_steps(20)

    def start(self, *flags: str) -> Process:
        said = [f"--bind={self.address}", f"--run-dir={self.run_dir}", f"--data={self._lab.data}"]
        said += [*JOB.flags(), *self._flags, *flags, "--log-format=json"]
        environment = {"LD_PRELOAD": str(self._library), "SLOW_DISK": str(self._switch)}
        return self._lab.start("coordinator", *said, **environment)

    def make_slow(self, seconds: float) -> None:
        self._switch.write_text(str(int(seconds * 1e6)))

    def make_fast(self) -> None:
        self._switch.unlink()

    @property
    def facts(self) -> list[dict[str, Any]]:
        lines = self.coordinator.stderr.split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def told(self, fact: str) -> list[dict[str, Any]]:
        return [values for values in self.facts if values.get("fact") == fact]

    def durable(self) -> list[tuple[int, float]]:
        """Every step that was called durable, and how many seconds its save took."""
        return [(fact["step"], fact["seconds"]) for fact in self.told("CheckpointDurable")]

    def wait_for_steps(self, count: int) -> None:
        """Wait until so many more steps are committed."""
        already = len(metrics(self.run_dir))
        wait_until(f"{count} more steps", lambda: len(metrics(self.run_dir)) >= already + count)

    def wait_for_saves(self, count: int) -> None:
        already = len(self.durable())
        wait_until(f"{count} more saves", lambda: len(self.durable()) >= already + count)

    def status(self) -> dict[str, Any]:
        asked = self._lab.run("status", f"--run-dir={self.run_dir}", "--json")
        assert asked.exit_code() == 0, asked.stderr
        values: dict[str, Any] = json.loads(asked.stdout)
        return values


def start_liar(run: SlowDisk, lab: Lab) -> Process:
    said = ["worker", f"--connect={run.address}", "--name=liar"]
    return lab.start_script("tests.integration.liar", *said)


def assert_right_so_far(run_dir: Path) -> None:
    lines = metrics(run_dir)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["loss"] for line in lines] == JOB.expected(len(lines)).losses


def test_no_step_waits_for_the_disk(lab: Lab) -> None:
    """A commodity disk takes tens of milliseconds for an fsync, a busy one seconds."""
    run = SlowDisk(lab, "--checkpoint-every=1")
    run.make_slow(FSYNC_S)
    run.wait_for_saves(1)
    already = len(metrics(run.run_dir))

    run.wait_for_saves(2)

    steps = metrics(run.run_dir)[already:]
    slowest_save_s = max(seconds for _, seconds in run.durable())
    assert slowest_save_s > 4 * FSYNC_S
    assert len(steps) > 100, "training goes on"
    assert max(step["seconds"] for step in steps) < FSYNC_S / 2
    status = run.status()
    assert status["saving_step"] > status["durable_step"] >= run.durable()[0][0]
    assert status["step"] > status["saving_step"]
    run.coordinator.send(signal.SIGTERM)
    assert run.coordinator.exit_code() == 0, run.coordinator.stderr
    assert_right_so_far(run.run_dir)
    assert run.durable()[-1][0] == len(metrics(run.run_dir)), "the last save was waited for"


def test_a_stop_does_not_wait_for_a_disk_that_hangs(lab: Lab) -> None:
    run = SlowDisk(lab, "--checkpoint-every=50")
    run.wait_for_saves(1)
    run.make_slow(STUCK_S)
    run.wait_for_steps(200)
    durable = run.durable()[-1][0]

    run.coordinator.send(signal.SIGTERM)

    assert run.coordinator.exit_code(10) == 1
    (line,) = run.coordinator.errors
    assert "to be saved within 8 s, got no answer" in line
    assert f"step {durable} is durable" in line
    run.make_fast()
    run.coordinator = run.start("--resume")
    run.wait_for_saves(1)
    run.coordinator.send(signal.SIGTERM)
    assert run.coordinator.exit_code() == 0, run.coordinator.stderr
    assert_right_so_far(run.run_dir)


def test_a_run_that_goes_back_on_a_slow_disk_loses_nobody(lab: Lab) -> None:
    """To remove what a liar has spoilt takes several fsyncs; the honest are answered meanwhile."""
    run = SlowDisk(lab, "--checkpoint-every=20", "--audit=0.2")
    run.make_slow(2 * FSYNC_S)
    liar = start_liar(run, lab)

    assert liar.exit_code() == REFUSED
    wait_until("the way back", lambda: run.told("RunWentBack"))
    run.wait_for_steps(20)

    assert [fact["reason"] for fact in run.told("MemberLost") if "w1-" in fact["name"]] == []
    assert "searching again" not in run.worker.stderr
    run.make_fast()
    run.coordinator.send(signal.SIGTERM)
    assert run.coordinator.exit_code() == 0, run.coordinator.stderr
    assert_right_so_far(run.run_dir)


@pytest.mark.long
def test_a_run_that_cannot_go_back_because_its_disk_hangs_can_be_stopped(lab: Lab) -> None:
    run = SlowDisk(lab, "--checkpoint-every=20", "--audit=0.2")
    run.make_slow(STUCK_S)
    liar = start_liar(run, lab)
    assert liar.exit_code() == REFUSED

    run.coordinator.send(signal.SIGTERM)

    assert run.coordinator.exit_code(12) == FAILURE
    (line,) = run.coordinator.errors
    assert "within 8 s, got no answer" in line


@pytest.mark.long
def test_a_disk_that_hangs_ends_a_run_once_too_much_is_at_risk(lab: Lab) -> None:
    run = SlowDisk(lab, "--checkpoint-every=20", "--max-unsaved=300")
    run.wait_for_saves(1)
    run.make_slow(2 * STUCK_S)

    assert run.coordinator.exit_code() == FAILURE
    (line,) = run.coordinator.errors
    assert re.search("expected a save within 300 steps, got none: step .* is being saved for", line)
    (stuck,) = run.told("SaveStuck")
    assert stuck["seconds"] < 32
    assert run.worker.is_running, "it waits for another coordinator"
