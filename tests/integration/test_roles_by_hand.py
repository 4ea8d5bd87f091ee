"""Coordinator, workers and sampler started one by one, as over several machines."""

import signal
from dataclasses import replace

import msgpack
import pytest

from tests.integration.callers import Callers
from tests.integration.flock import Lab, Process, free_address, metrics, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job()


def coordinator(lab: Lab, address: str, *flags: str) -> Process:
    run_dir = lab.directory / "run"
    said = [f"--bind={address}", f"--run-dir={run_dir}", f"--data={lab.data}", *JOB.flags()]
    return lab.start("coordinator", *said, *flags)


def wait_for_step(lab: Lab, step: int) -> None:
    wait_until(f"step {step}", lambda: len(metrics(lab.directory / "run")) >= step)


def test_roles_find_each_other_in_any_order_and_leave_when_the_run_is_done(lab: Lab) -> None:
    """Nothing starts machines in order; whoever is early waits, and whoever is done goes."""
    address, door = free_address(), free_address()
    sampler = lab.start("serve", f"--run-dir={lab.directory / 'run'}", f"--bind={door}")
    early = lab.start("worker", f"--connect={address}", "--name=early")
    early.wait_until_it_says("waiting for one")
    owner = coordinator(lab, address)
    late = lab.start("worker", f"--connect={address}", "--name=late")

    assert [process.exit_code() for process in (owner, early, late)] == [0, 0, 0]
    assert JOB.expected().weights_sha256 in owner.stdout
    assert "the run is done" in early.stderr
    with Callers(door) as callers:
        client = callers.req()

        def served() -> str:
            client.send(msgpack.packb({}))
            return msgpack.unpackb(client.recv()).get("sha256")

        wait_until("the last weights", lambda: served() == JOB.expected().weights_sha256)
    sampler.send(signal.SIGTERM)
    assert sampler.exit_code() == 0
    lab.assert_nobody_is_left()


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGTERM, id="stopped", marks=pytest.mark.long),
    ],
)
def test_workers_outlive_their_coordinator_and_go_on_with_the_next(
    lab: Lab, number: signal.Signals
) -> None:
    """A coordinator's machine is rebooted; the flock must not have to be."""
    address = free_address()
    owner = coordinator(lab, address, "--checkpoint-every=4")
    workers = [lab.start("worker", f"--connect={address}") for _ in range(2)]
    wait_for_step(lab, 6)

    owner.send(number)
    assert owner.exit_code() == (0 if number is signal.SIGTERM else -number)
    assert all(worker.is_running for worker in workers)
    again = coordinator(lab, address, "--resume")

    assert again.exit_code() == 0, again.stderr
    assert [worker.exit_code() for worker in workers] == [0, 0]
    assert JOB.expected().weights_sha256 in again.stdout
    assert [line["loss"] for line in metrics(lab.directory / "run")] == JOB.expected().losses


def test_a_worker_that_slept_through_the_end_of_the_run_still_leaves(lab: Lab) -> None:
    """BYE and the end of the connection are there at once when it wakes: it must read in order."""
    address = free_address()
    job = replace(JOB, shards=1)  # one branch a step: the first worker gets it, the second is idle
    owner = coordinator(lab, address, *job.flags())
    busy = lab.start("worker", f"--connect={address}")
    owner.wait_until_it_says("(workers 1)")
    idle = lab.start("worker", f"--connect={address}")
    owner.wait_until_it_says("(workers 2)")
    wait_for_step(lab, job.steps - 4)

    idle.send(signal.SIGSTOP)
    assert owner.exit_code() == 0
    idle.send(signal.SIGCONT)

    assert "fell silent" not in owner.stderr
    assert [busy.exit_code(), idle.exit_code(10)] == [0, 0]


def test_a_worker_told_to_stop_says_goodbye_and_frees_its_work_at_once(lab: Lab) -> None:
    """A spot machine gets SIGTERM; the others should not wait for the silence to be noticed."""
    address = free_address()
    owner = coordinator(lab, address)
    workers = [lab.start("worker", f"--connect={address}") for _ in range(2)]
    wait_for_step(lab, 3)

    workers[0].send(signal.SIGTERM)

    assert workers[0].exit_code() == 0
    owner.wait_until_it_says("lost: it said goodbye")
    assert owner.exit_code() == 0
    assert JOB.expected().weights_sha256 in owner.stdout


def test_sigint_to_a_role_by_hand_ends_it_with_130(lab: Lab) -> None:
    """Each is a command of its own, typed at some terminal."""
    address = free_address()
    owner = coordinator(lab, address)
    worker = lab.start("worker", f"--connect={address}")
    wait_for_step(lab, 1)

    for process in (worker, owner):
        process.send(signal.SIGINT)
        assert process.exit_code() == 130
        assert "Traceback" not in process.stderr
