"""Runs that end with less on disk than was committed: `train` says so, and what is durable."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from cli.roles import LEAVE_S
from tests.integration.flock import PROC, Lab, Train, checkpointed_step, wait_until
from tests.integration.libraries import SLOW_FSYNC, built
from tests.integration.oracle import Job
from tests.integration.test_stopping import taken

pytestmark = pytest.mark.integration

SHORT, ENDLESS = Job(steps=6), Job(steps=1_000_000)
START_ONLY = "--checkpoint-every=1000000"  # the only save is that of the step it starts from
STUCK_S = 60.0


def stopped_coordinator(train: Train) -> int:
    """Let the coordinator commit some steps, then hang; give its process id."""
    train.wait_for_step(len(train.metrics()) + 5)
    pid = train.child("coordinator")
    os.kill(pid, signal.SIGSTOP)
    return pid


def assert_it_says_what_is_durable(train: Train, *words: str) -> None:
    """One line, exit code 1, and nothing that looks like a result."""
    assert train.exit_code() == 1, train.stderr
    assert len(train.errors) == 1, train.stderr
    (line,) = train.errors
    for word in (*words, f" — {train.run_dir}; step {checkpointed_step(train.run_dir)} is durable"):
        assert word in line
    assert "Traceback" not in train.stderr
    assert train.stdout == ""


def test_a_coordinator_that_does_not_answer_has_not_saved(lab: Lab) -> None:
    """A laptop that swaps, a disk that hangs: exit code 0 would be believed."""
    train = lab.train(ENDLESS, "--workers=1", START_ONLY)
    stopped_coordinator(train)

    train.send(signal.SIGTERM)

    missed = f"expected the coordinator to save within {LEAVE_S:g} s, got no answer"
    way_on = f"step 0 is durable: go on with .* train --resume --run-dir {train.run_dir}$"
    assert_it_says_what_is_durable(train, missed)
    assert re.search(way_on, train.errors[0])
    lab.assert_nobody_is_left()


def test_who_asks_twice_is_not_told_that_anything_was_saved(lab: Lab) -> None:
    train = lab.train(ENDLESS, "--workers=1", START_ONLY)
    stopped_coordinator(train)

    train.send(signal.SIGTERM)
    train.send(signal.SIGINT)

    assert train.exit_code(LEAVE_S / 2) == 130, train.stderr
    assert train.errors == []
    assert json.loads(train.stdout)["steps"] == checkpointed_step(train.run_dir) == 0
    assert "saved" not in train.stderr
    lab.assert_nobody_is_left()


def test_a_coordinator_that_is_killed_while_it_should_save_has_not_saved(lab: Lab) -> None:
    train = lab.train(ENDLESS, "--workers=1", START_ONLY)
    coordinator = stopped_coordinator(train)
    train.send(signal.SIGTERM)
    wait_until("the coordinator to be asked", lambda: is_asked_to_end(coordinator))

    os.kill(coordinator, signal.SIGKILL)

    got = "expected the coordinator to save, got: coordinator was killed by SIGKILL"
    assert_it_says_what_is_durable(train, got)
    lab.assert_nobody_is_left()


def is_asked_to_end(pid: int) -> bool:
    """Say whether SIGTERM waits for a process that is stopped."""
    status = (PROC / str(pid) / "status").read_text()
    pending = re.search(r"ShdPnd:\s*(\w+)", status)
    return pending is not None and bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_coordinator_whose_address_was_taken_is_told_of_with_the_way_on(lab: Lab) -> None:
    """There is no flag for its address; and a longer run must stay as long."""
    lab.train(SHORT, "--workers=1", run_dir=lab.directory / "run").summary()
    train = lab.train(ENDLESS, "--workers=1", "--resume", START_ONLY, run_dir=lab.directory / "run")
    train.wait_for_step(SHORT.steps + 2)
    address = (train.run_dir / "coordinator.address").read_text().strip()
    train.send(signal.SIGSTOP)
    os.kill(train.child("coordinator"), signal.SIGKILL)

    with wait_until("the port of the dead coordinator", lambda: taken(address)):
        train.send(signal.SIGCONT)

        assert_it_says_what_is_durable(train, f"expected {address} to be free", "killed by SIGKILL")
    (line,) = train.errors
    assert line.endswith(f" train --resume --run-dir {train.run_dir} --steps {ENDLESS.steps}")
    assert "--bind" not in line
    lab.assert_nobody_is_left()


def test_a_signal_without_a_name_is_one_that_kills_like_others(lab: Lab) -> None:
    train = lab.train(ENDLESS, "--workers=1")
    train.wait_for_step(2)

    os.kill(train.child("coordinator"), 40)

    train.wait_until_it_says("coordinator was killed by signal 40; starting it again, from step")
    train.send(signal.SIGTERM)
    train.summary()


@pytest.mark.long
def test_on_a_disk_that_hangs_a_stop_is_a_failure_in_time(lab: Lab) -> None:
    """The coordinator waits for its disk, and says so itself: `train` must wait for longer."""
    switch: Path = lab.directory / "slow"
    library = built(SLOW_FSYNC, lab.directory / "fsync.so")
    lab.environment |= {"LD_PRELOAD": str(library), "SLOW_DISK": str(switch)}
    train = lab.train(ENDLESS, "--workers=1", "--checkpoint-every=5")
    train.wait_for_step(12)
    switch.write_text(str(int(STUCK_S * 1e6)))
    train.wait_for_step(len(train.metrics()) + 12)

    train.send(signal.SIGTERM)

    assert train.exit_code(2 * LEAVE_S) == 1
    (line,) = train.errors
    assert "to be saved within 8 s, got no answer" in line
    assert f"step {checkpointed_step(train.run_dir)} is durable" in line
    assert train.stdout == ""
    lab.assert_nobody_is_left()
