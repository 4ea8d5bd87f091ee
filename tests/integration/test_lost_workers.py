"""Workers that die or stall in the middle of a run: nobody can tell from the weights."""

import os
import signal

import pytest

from tests.integration.flock import Lab, Train, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job()


# Hundreds of steps a second: a worker dies with two leases and its answers on the way.
FAST = Job(steps=1500, batch_size=64, n_embd=16, n_head=4, engine="compiled")


def assert_as_if_nothing_had_happened(lab: Lab, train: Train, job: Job = JOB) -> None:
    assert train.summary()["weights_sha256"] == job.expected().weights_sha256
    assert train.losses() == job.expected().losses
    lab.assert_nobody_is_left()


def test_a_killed_worker_is_replaced_and_leaves_no_trace_in_the_weights(lab: Lab) -> None:
    """The README's own demonstration: kill -9 a worker while it trains."""
    train = lab.train(JOB, "--workers=2")
    train.wait_for_step(3)

    os.kill(train.child("worker"), signal.SIGKILL)

    train.wait_until_it_says("was killed by SIGKILL; starting it again")
    assert_as_if_nothing_had_happened(lab, train)


def test_a_killed_worker_of_the_compiled_engine_leaves_no_trace_either(lab: Lab) -> None:
    """What replaces it starts warm, and its memory has seen other documents: same bits."""
    train = lab.train(FAST, "--workers=2")

    for step in (100, 400):
        train.wait_for_step(step)
        os.kill(train.child("worker"), signal.SIGKILL)

    train.wait_until_it_says("was killed by SIGKILL; starting it again")
    assert_as_if_nothing_had_happened(lab, train, FAST)


def test_a_run_survives_the_loss_of_all_its_workers_at_once(lab: Lab) -> None:
    """The out-of-memory killer takes every process of a kind."""
    train = lab.train(JOB, "--workers=2")
    train.wait_for_step(3)
    before = train.children("worker")

    for pid in before:
        os.kill(pid, signal.SIGKILL)

    wait_until("two other workers", lambda: len(set(train.children("worker")) - set(before)) == 2)
    assert_as_if_nothing_had_happened(lab, train)


def test_a_worker_that_was_stopped_loses_its_leases_and_comes_back(lab: Lab) -> None:
    """A stopped process keeps its connection: only its silence tells, and its late answers come."""
    endless = Job(steps=1_000_000, engine="compiled")  # copies are computed meanwhile: it goes on
    train = lab.train(endless, "--workers=2")
    wait_until("both to join", lambda: train.stderr.count(" joined from ") == 2)
    stopped = train.child("worker")

    os.kill(stopped, signal.SIGSTOP)
    train.wait_until_it_says("fell silent")
    os.kill(stopped, signal.SIGCONT)
    wait_until("it to join again", lambda: train.stderr.count(" joined from ") == 3)
    train.send(signal.SIGTERM)

    assert train.exit_code() == 0, train.stderr
    assert train.losses() == endless.expected(len(train.losses())).losses
    assert "starting it again" not in train.stderr
    lab.assert_nobody_is_left()


@pytest.mark.long
def test_a_worker_killed_at_every_third_step_leaves_no_trace_in_the_weights(lab: Lab) -> None:
    """More deaths than a worker's share of starts: those before progress are forgiven."""
    train = lab.train(JOB, "--workers=2")

    for step in range(1, JOB.steps - 6, 3):
        train.wait_for_step(step)
        victims = wait_until("a worker to kill", lambda: train.children("worker"))
        os.kill(victims[step % len(victims)], signal.SIGKILL)

    assert_as_if_nothing_had_happened(lab, train)
    assert train.stderr.count("starting it again") == 8
