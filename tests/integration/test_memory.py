"""A message that never ends, at the training socket: the coordinator saves and leaves in time.

libzmq keeps the frames of an unfinished message whatever its limits are; so the flood is spoken by
hand, and the watch of the coordinator is what must notice.
"""

import signal
import socket
from contextlib import suppress
from threading import Thread

import pytest

from tests.integration.flock import Lab, checkpointed_step, free_address, metrics, wait_until
from tests.integration.oracle import Job
from tests.wire.zmtp import MORE, frame, greeting, ready

pytestmark = pytest.mark.integration

JOB = Job()
FRAME = frame(bytes(1024 * 1024), MORE)
FLOOD_S = 30.0  # then the peer gives up; a coordinator should be gone long before


def flood(address: str) -> None:
    """Begin a message as a member of the protocol may, and never end it."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), FLOOD_S) as peer:
        peer.sendall(greeting() + ready(b"DEALER"))
        while True:
            peer.sendall(FRAME)


def test_a_message_without_end_makes_the_coordinator_save_leave_and_go_on_later(lab: Lab) -> None:
    """Killed by the machine, it would lose what it had not saved, and say nothing."""
    address, run_dir = free_address(), lab.directory / "run"
    said = (
        *(f"--bind={address}", f"--run-dir={run_dir}", f"--data={lab.data}", *JOB.flags()),
        *("--checkpoint-every=1000", "--max-memory-growth=64"),
    )
    coordinator = lab.start("coordinator", *said)
    worker = lab.start("worker", f"--connect={address}")
    wait_until("a few steps", lambda: len(metrics(run_dir)) >= 3)
    worker.send(signal.SIGSTOP)  # the run may not be over before the flood is

    attack = Thread(target=flood, args=[address])
    attack.start()
    code = coordinator.exit_code()
    attack.join()

    (line,) = coordinator.errors
    assert code == 1
    assert line.startswith("gradflock: expected memory to grow by at most 64 MiB, got ")
    assert "Traceback" not in coordinator.stderr
    assert checkpointed_step(run_dir) == len(metrics(run_dir)) >= 3

    worker.send(signal.SIGCONT)
    resumed = lab.run("coordinator", *said, "--resume")

    assert resumed.exit_code() == 0, resumed.stderr
    assert worker.exit_code() == 0, worker.stderr
    assert JOB.expected().weights_sha256 in resumed.stdout
