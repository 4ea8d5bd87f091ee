"""Ctrl-C, SIGTERM and sudden death of `train`: nothing is lost, nobody stays, and it goes on."""

import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from cli.roles import STARTS_MAX
from tests.integration.flock import Lab, Train, checkpointed_step, free_address, wait_until
from tests.integration.oracle import Job
from tests.trials import trials

pytestmark = pytest.mark.integration

JOB = Job()
LEAVE_S = 10.0
START_S = 1.5  # a coordinator that starts has committed its first steps by then
KILLED = "coordinator was killed by SIGKILL"


def ctrl_c(train: Train) -> None:
    train.send_to_group(signal.SIGINT)


def interrupt(train: Train) -> None:
    train.send(signal.SIGINT)


def terminate(train: Train) -> None:
    train.send(signal.SIGTERM)


def when_the_coordinator_starts(train: Train) -> None:
    """Before it listens, and before it has taken its signals over."""
    train.child("coordinator")


def when_workers_start(train: Train) -> None:
    train.child("worker")


def after_one_step(train: Train) -> None:
    train.wait_for_step(1)


def in_the_middle(train: Train) -> None:
    train.wait_for_step(10)


Act = Callable[[Train], None]


def stop(lab: Lab, moment: Act, send: Act) -> Train:
    """Start a run and stop it; it must leave in time, with its exit code and with everybody."""
    train = lab.train(JOB, "--workers=2")
    moment(train)
    began_s = time.monotonic()
    send(train)
    code = train.exit_code()
    lab.assert_nobody_is_left(LEAVE_S - (time.monotonic() - began_s))
    assert code == (0 if send is terminate else 130), train.stderr
    assert "Traceback" not in train.stderr
    assert "starting it again" not in train.stderr
    assert train.errors == []
    return train


def assert_it_goes_on_to_the_same_weights(lab: Lab, stopped: Train) -> None:
    done = len(stopped.metrics())
    assert done < JOB.steps, "the run was over before it was stopped"
    assert checkpointed_step(stopped.run_dir) == (done or checkpointed_step(stopped.run_dir))

    again = lab.train(JOB, "--workers=2", "--resume=auto", run_dir=stopped.run_dir)

    assert again.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert again.losses() == JOB.expected().losses


def test_ctrl_c_saves_the_last_committed_step_and_resume_goes_on_from_it(lab: Lab) -> None:
    """A terminal signals the whole group: the coordinator must save though all hear it at once."""
    train = stop(lab, in_the_middle, ctrl_c)

    assert_it_goes_on_to_the_same_weights(lab, train)


def test_sigint_to_train_alone_stops_everybody(lab: Lab) -> None:
    """An IDE's stop button signals one process and not its group."""
    train = stop(lab, after_one_step, interrupt)

    assert checkpointed_step(train.run_dir) == len(train.metrics()) >= 1


def test_sigterm_saves_and_ends_with_0(lab: Lab) -> None:
    """A service manager takes any other code for a failure and starts us again."""
    train = stop(lab, in_the_middle, terminate)

    assert checkpointed_step(train.run_dir) == len(train.metrics()) >= 10


@pytest.mark.parametrize("send", [ctrl_c, terminate])
def test_a_stop_before_the_coordinator_listens_is_a_clean_stop(lab: Lab, send: Act) -> None:
    """Whoever sees a mistyped flag scroll by presses Ctrl-C in the first half second."""
    stop(lab, when_the_coordinator_starts, send)


@pytest.mark.long
@pytest.mark.parametrize("send", [ctrl_c, interrupt, terminate])
@pytest.mark.parametrize(
    "moment", [when_the_coordinator_starts, when_workers_start, after_one_step, in_the_middle]
)
def test_a_run_stopped_at_any_moment_goes_on_to_the_same_weights(
    lab: Lab, moment: Act, send: Act
) -> None:
    """There is no moment at which stopping costs more than the open step."""
    assert_it_goes_on_to_the_same_weights(lab, stop(lab, moment, send))


def test_when_train_is_killed_its_children_save_and_leave_by_themselves(lab: Lab) -> None:
    """kill -9 tells nobody: without care the workers would compute for ever."""
    train = lab.train(JOB, "--workers=2", "--checkpoint-every=1000")
    train.wait_for_step(5)

    train.send(signal.SIGKILL)

    lab.assert_nobody_is_left(LEAVE_S)
    assert_it_goes_on_to_the_same_weights(lab, train)


# ---- the coordinator is killed -------------------------------------------------------------------


def coordinator_of(train: Train, but: int = 0) -> int:
    """Give its process id, as soon as there is one besides one that was killed."""
    return wait_until("a coordinator", lambda: set(train.children("coordinator")) - {but}).pop()


def kill_coordinator(train: Train, but: int = 0, after_s: float = 0.0) -> int:
    pid = coordinator_of(train, but)
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_coordinator_is_started_again_and_its_workers_live_on(lab: Lab) -> None:
    """It holds the truth, but the disk does too: only what was not saved is computed again."""
    train = lab.train(JOB, "--workers=2", "--checkpoint-every=4")
    train.wait_for_step(9)
    workers = set(train.children("worker"))

    kill_coordinator(train)

    said = train.wait_until_it_says("starting it again")
    assert re.fullmatch(f"{KILLED}; starting it again, from step [48]", said)
    train.wait_for_step(15)
    assert set(train.children("worker")) == workers
    assert train.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert train.losses() == JOB.expected().losses
    assert train.stderr.count("starting it again") == 1
    lab.assert_nobody_is_left()


@trials(gate=1, long=10, soak=50)
def test_a_coordinator_killed_three_times_at_random_leaves_no_trace(lab: Lab, count: int) -> None:
    """Also before it has bound an address, or made its first step durable."""
    rng = random.Random(3)
    endless = Job(steps=1_000_000, engine="compiled")
    for _ in range(count):
        train = lab.train(endless, "--workers=2", "--checkpoint-every=0.05s")
        killed = 0
        for _ in range(3):
            killed = kill_coordinator(train, killed, after_s=rng.uniform(0, START_S))
        train.wait_for_step(len(train.metrics()) + 10)
        train.send(signal.SIGTERM)

        summary = train.summary()
        expected = endless.expected(summary["steps"])
        assert summary["weights_sha256"] == expected.weights_sha256
        assert train.losses() == expected.losses
        assert train.stderr.count(f"{KILLED}; starting it again") == 3
        lab.assert_nobody_is_left(LEAVE_S)


def test_a_coordinator_that_is_killed_again_and_again_is_given_up(lab: Lab) -> None:
    """Whatever kills it, perhaps for its memory, will do so again; a new save is a new chance."""
    train = lab.train(JOB, "--workers=2", "--checkpoint-every=4")
    train.wait_for_step(9)

    killed = kill_coordinator(train)
    for _ in range(STARTS_MAX):
        killed = kill_coordinator(train, but=killed)

    assert train.exit_code() == 1
    assert len(train.errors) == 1, train.stderr
    assert KILLED in train.errors[0]
    assert f"--resume --run-dir {train.run_dir}" in train.errors[0]
    assert train.stderr.count("starting it again") == STARTS_MAX
    assert "Traceback" not in train.stderr
    lab.assert_nobody_is_left(LEAVE_S)
    assert checkpointed_step(train.run_dir) >= 4
    again = lab.train(JOB, "--workers=1", "--resume", run_dir=train.run_dir)
    assert again.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert again.losses() == JOB.expected().losses


@pytest.mark.long
@pytest.mark.parametrize("send", [interrupt, terminate])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6])
def test_a_stop_while_a_killed_coordinator_is_started_again_is_a_clean_stop(
    lab: Lab, send: Act, after_s: float
) -> None:
    """Nobody may be started after that, and what was durable stays."""
    train = lab.train(JOB, "--workers=2", "--checkpoint-every=4")
    train.wait_for_step(9)
    coordinator_of(train, but=kill_coordinator(train))
    time.sleep(after_s)

    send(train)

    assert train.exit_code() == (0 if send is terminate else 130), train.stderr
    lab.assert_nobody_is_left(LEAVE_S)
    assert "Traceback" not in train.stderr
    assert train.errors == []
    again = lab.train(JOB, "--workers=1", "--resume", run_dir=train.run_dir)
    assert again.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert again.losses() == JOB.expected().losses


# ---- the sampler is killed -----------------------------------------------------------------------


def test_a_killed_sampler_is_replaced_and_training_does_not_notice(lab: Lab) -> None:
    """Sampling is a window on the training, and must never be a way to break it."""
    train = lab.train(JOB, "--workers=2")
    train.wait_for_step(3)
    killed = train.child("serve")

    os.kill(killed, signal.SIGKILL)

    train.wait_until_it_says("sampler was killed by SIGKILL; starting it again")
    wait_until("another sampler", lambda: set(train.children("serve")) - {killed})
    assert train.summary()["weights_sha256"] == JOB.expected().weights_sha256


def taken(address: str) -> socket.socket | None:
    """Listen on an address, if nobody else does any more."""
    with suppress(OSError):
        return socket.create_server(("127.0.0.1", int(address.rpartition(":")[2])))
    return None


@pytest.mark.long
def test_training_goes_on_without_a_sampler_that_cannot_be_started_again(lab: Lab) -> None:
    """Somebody has taken its port meanwhile: a pity for the window, and nothing to the training."""
    address = free_address()
    train = lab.train(JOB, "--workers=1", f"--sampler-bind={address}")
    train.wait_for_step(3)
    train.send(signal.SIGSTOP)
    os.kill(train.child("serve"), signal.SIGKILL)
    with wait_until("the port of the dead sampler", lambda: taken(address)):
        worker = train.child("worker")
        os.kill(worker, signal.SIGSTOP)  # no step meanwhile: steps would forgive the sampler
        train.send(signal.SIGCONT)
        train.wait_until_it_says("going on without it")
        os.kill(worker, signal.SIGCONT)

        assert train.summary()["weights_sha256"] == JOB.expected().weights_sha256
