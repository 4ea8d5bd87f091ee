"""The training socket under garbage: dropped, counted, answered where an answer helps; never more.

A coordinator waits without workers while the strangers knock; then two workers train through the
noise.
"""

import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
import zmq

from engine.config import WorkConfig
from engine.engines import engine_of
from engine.fingerprint import fingerprint
from tests.integration.callers import Callers, ZmqSocket
from tests.integration.flock import Lab, Process, metrics, wait_until
from tests.integration.oracle import Job
from wire.codec import decode, encode
from wire.messages import Grad, Hello, Message, Ping, Ready, Refuse, Result, Task, Welcome, Who

pytestmark = pytest.mark.integration

JOB = Job()
NUM_PARAMS = 432  # of the job's model
HELLO = Hello(v=2, name="stranger", host="test", pid=1, versions="")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def coordinator(shared_lab: Lab) -> Process:
    return shared_lab.start(
        "coordinator",
        "--bind=tcp://127.0.0.1:0",
        f"--run-dir={shared_lab.directory / 'run'}",
        f"--data={shared_lab.data}",
        *JOB.flags(),
    )


@pytest.fixture
def callers(coordinator: Process) -> Iterator[Callers]:
    line = coordinator.wait_until_it_says("coordinator at ")
    with Callers(line.removeprefix("coordinator at ").partition(",")[0]) as callers:
        yield callers
    assert "Traceback" not in coordinator.stderr


def say(caller: ZmqSocket, message: Message) -> None:
    caller.send_multipart(encode(message))


def hear(caller: ZmqSocket) -> Message:
    """Give the next message that is not a heartbeat."""
    while isinstance(message := decode(caller.recv_multipart()), Ping):
        pass
    return message


def join(caller: ZmqSocket) -> Welcome:
    say(caller, HELLO)
    welcome = hear(caller)
    assert isinstance(welcome, Welcome)
    return welcome


def ready_for(welcome: Welcome, **fields: str) -> Ready:
    work = WorkConfig.from_json(welcome.config)
    values = {
        "config_hash": work.digest,
        "fingerprint": fingerprint(engine_of(work.engine, work.model), work.model),
        **fields,
    }
    return Ready(
        run=welcome.run,
        gen=welcome.gen,
        sid=welcome.sid,
        params_digest="",
        document_s=0.01,
        **values,
    )


def grad_of(run: str, gen: int, sid: int) -> Grad:
    return Grad(
        run=run,
        gen=gen,
        sid=sid,
        step=0,
        lo=0,
        hi=1,
        lease=1,
        params_digest="0" * 64,
        loss_sum=1.0,
        queued_s=0.0,
        compute_s=0.1,
        payload=array("d", [1.0] * NUM_PARAMS).tobytes(),
    )


def damaged(frames: list[bytes]) -> list[bytes]:
    """Flip one bit of the payload, as a bad cable or bad memory does."""
    digest, header, payload = frames
    return [digest, header, bytes([payload[0] ^ 1, *payload[1:]])]


def test_a_hello_of_another_protocol_version_is_refused_with_a_sentence(callers: Callers) -> None:
    """Two versions in one flock must find out at once, and in words."""
    caller = callers.dealer()

    say(caller, replace(HELLO, v=3))

    answer = hear(caller)
    assert isinstance(answer, Refuse)
    assert answer.permanent
    assert "expected protocol version 2, got 3" in answer.text


def test_a_gradient_without_a_session_is_asked_who_it_is(callers: Callers) -> None:
    """So a worker of a coordinator that has died learns that it must say HELLO again."""
    caller = callers.dealer()

    say(caller, grad_of("0" * 32, 1, 5))

    assert isinstance(hear(caller), Who)


@pytest.mark.parametrize(
    ("field", "code", "words"),
    [("config_hash", "CONFIG", "expected config"), ("fingerprint", "NUMERICS", "round other than")],
)
def test_a_worker_with_another_config_or_arithmetic_is_refused_before_it_gets_work(
    callers: Callers, field: str, code: str, words: str
) -> None:
    """A worker that computes something else would spoil every bit, and nobody could see it."""
    caller = callers.dealer()
    welcome = join(caller)

    say(caller, ready_for(welcome, **{field: "0" * 64}))

    answer = hear(caller)
    assert isinstance(answer, Refuse)
    assert (answer.code, answer.permanent) == (code, True)
    assert words in answer.text


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"hello"], "expected 3 frames, got 1"),
        ([b""] * 50, "expected 3 frames, got 50"),
        ([os.urandom(16), os.urandom(100), os.urandom(3456)], "digest"),
        ([b"", bytes(2000), b""], "at most 1024 bytes, got 2000"),
        (damaged(encode(grad_of("0" * 32, 1, 5))), "digest"),
        ([frame[:-3] for frame in encode(grad_of("0" * 32, 1, 5))], "digest"),
    ],
    ids=["one frame", "fifty frames", "random", "long header", "flipped bit", "truncated"],
)
def test_what_is_no_message_is_dropped_and_the_drop_is_counted_and_said(
    callers: Callers, coordinator: Process, frames: list[bytes], reason: str
) -> None:
    """A drop that nobody can see is a bug that nobody can find."""

    def drops() -> list[str]:
        return [line for line in coordinator.stderr.splitlines() if "dropped message" in line]

    before = len(drops())

    callers.dealer().send_multipart(frames)

    wait_until("the drop to be said", lambda: len(drops()) > before)
    assert drops()[-1].startswith(f"dropped message {len(drops())}: ")
    assert reason in drops()[-1]


WRONG = {  # what a worker answers its first task with -> what it hears
    "too short": ({"payload": bytes(8)}, Refuse),
    "a value short": ({"payload": bytes(8 * (NUM_PARAMS - 1))}, Refuse),
    "of other parameters": ({"params_digest": "1" * 64}, Refuse),
    "of no branch": ({"lo": 0, "hi": 2**40}, Refuse),
    "of another step": ({"step": 1}, Result),
    "of another generation": ({"gen": 7}, Who),
    "of another run": ({"run": "f" * 32}, Who),
    "damaged": ({}, Who),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_gradient_is_answered_and_not_counted(
    shared_lab: Lab, callers: Callers, coordinator: Process, kind: str
) -> None:
    """A worker that is told nothing computes on; one whose answer counts has spoilt the run."""
    change, answer = WRONG[kind]
    caller = callers.dealer()
    welcome = join(caller)
    say(caller, ready_for(welcome))
    task = hear(caller)
    assert isinstance(task, Task)
    grad = replace(
        grad_of(welcome.run, welcome.gen, welcome.sid),
        lo=task.lo,
        hi=task.hi,
        lease=task.lease,
        params_digest=task.params_digest,
    )

    frames = encode(replace(grad, **change))
    caller.send_multipart(damaged(frames) if kind == "damaged" else frames)

    while isinstance(message := hear(caller), Task):  # the second lease, or the first once more
        pass
    assert isinstance(message, answer)
    assert metrics(shared_lab.directory / "run") == []


def test_bytes_that_are_not_zmtp_are_counted_and_reach_nobody(
    callers: Callers, coordinator: Process
) -> None:
    """A browser on the wrong port is worth a line at most, and must not be worth a crash."""
    callers.send_bytes_that_are_not_zmtp()

    coordinator.wait_until_it_says("refused connection")
    join(callers.dealer())


def test_a_frame_above_the_limit_ends_its_connection_and_nothing_else(callers: Callers) -> None:
    """One frame may not fill the memory of the process that owns the truth."""
    caller = callers.dealer()
    join(caller)

    caller.send_multipart([b"", b"", bytes(17 * MIB)])

    join(callers.dealer())


def test_workers_train_the_same_weights_through_the_noise(
    shared_lab: Lab, callers: Callers, coordinator: Process
) -> None:
    """Garbage may cost time; if it could cost one bit of the weights, no run could be trusted."""
    run_dir = shared_lab.directory / "run"
    workers = [shared_lab.start("worker", f"--connect={callers.address}") for _ in range(2)]

    noise = callers.dealer()
    noise.set(zmq.SNDTIMEO, 0)
    while coordinator.is_running:
        steps = len(metrics(run_dir))
        with suppress(zmq.Again):
            noise.send_multipart([os.urandom(16), os.urandom(90), os.urandom(3456)])
            noise.send_multipart([b""] * 20)
            say(noise, HELLO)
        wait_until(
            "a step or the end",
            lambda steps=steps: len(metrics(run_dir)) > steps or not coordinator.is_running,
        )

    assert coordinator.exit_code() == 0, coordinator.stderr
    assert [worker.exit_code() for worker in workers] == [0, 0]
    assert [line["loss"] for line in metrics(run_dir)] == JOB.expected().losses
    assert JOB.expected().weights_sha256 in coordinator.stdout
    assert "dropped message 10: " in coordinator.stderr
