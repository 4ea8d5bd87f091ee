"""Who has no right key: no byte of the weights for them, nothing of theirs counted, each named.

A coordinator waits at step 0 while they knock, so that all there is to steal is known: what would
go to the first worker. Everything they hear goes through a proxy, which records it.

Source: reliability.md, fault table, rows 36 to 39; promise 12 of its part 5.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import zmq

from cli.status import look
from coordinator.run_directory import RunDirectory
from engine.params import to_bytes
from tests.integration.crew import STEPS, Crew, facts
from tests.integration.flock import Lab, Process, wait_until
from tests.integration.oracle import Job
from tests.integration.proxy import DOWN, UP, Proxy
from tests.wire.zmtp import frame, greeting, ready
from wire.keyring import Keyring, write_secret
from wire.keys import ClientKey
from wire.security import new_client_key, new_server_key

pytestmark = pytest.mark.integration

TRIALS = 20  # of each kind
JOB = Job(steps=STEPS, batch_size=64, n_embd=4, n_head=2, engine="compiled")
FLOAT_BYTES = 8
GREETING_BYTES, HELLO_BYTES, WELCOME_BYTES = 64, 202, 170  # of ZMTP and CURVE, framed
HANDSHAKE_BYTES = GREETING_BYTES + WELCOME_BYTES  # what a server says to anybody
ERROR_BYTES = 12  # the command that ends a handshake, with a status of three digits


@dataclass(frozen=True)
class Issued:
    """A directory of keys, and the files that were made from it."""

    directory: Path
    keys: dict[str, ClientKey]

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.key"


@pytest.fixture
def issued(lab: Lab) -> Issued:
    keyring = Keyring(lab.directory / "keys")
    issued = Issued(keyring.path, {})

    def hand_over(key: ClientKey) -> None:
        issued.keys[key.name] = key
        write_secret(issued.file(key.name), key.to_toml())

    for name in ("desk", "laptop", "old"):
        keyring.new(name, hand_over)
    keyring.revoke("old")
    desk = issued.keys["desk"]
    for key in (
        new_client_key("unlisted", desk.server),
        replace(desk, name="misled", server=new_server_key().public),
    ):
        hand_over(key)
    return issued


@contextmanager
def knocking(address: str, key: ClientKey | None = None, password: bytes = b"") -> Iterator[None]:
    """Be a DEALER of somebody else's program, which tries once and says HELLO if it gets in."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as theirs:
        theirs.set(zmq.LINGER, 0)
        theirs.set(zmq.RECONNECT_IVL, -1)
        if key is not None:
            theirs.set(zmq.CURVE_PUBLICKEY, key.public.encode())
            theirs.set(zmq.CURVE_SECRETKEY, key.secret.encode())
            theirs.set(zmq.CURVE_SERVERKEY, key.server.encode())
        if password:
            theirs.set(zmq.PLAIN_USERNAME, b"desk")
            theirs.set(zmq.PLAIN_PASSWORD, password)
        theirs.connect(address)
        theirs.send_multipart([b"digest", b"HELLO", b""])
        yield


@contextmanager
def by_hand(address: str) -> Iterator[None]:
    """Do the handshake of the NULL mechanism without waiting for an answer, and go on talking."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(greeting() + ready(b"DEALER") + frame(b"digest", 1) + frame(b"HELLO"))
        yield


def floats_of(crew: Crew) -> list[bytes]:
    """Give each parameter of the run's newest checkpoint as the bytes that it travels in."""
    checkpoint, _ = RunDirectory(crew.run_dir).checkpoints.newest()
    assert checkpoint is not None
    data = bytes(to_bytes(checkpoint.params))
    floats = [data[i : i + FLOAT_BYTES] for i in range(0, len(data), FLOAT_BYTES)]
    return [value for value in floats if any(value)]


def found(floats: list[bytes], proxy: Proxy) -> int:
    """Count the parameters that have gone through a proxy in the clear."""
    heard = [bytes(one[DOWN]) for one in proxy.recorded]
    return sum(any(value in one for one in heard) for value in floats)


def refusals(process: Process) -> list[str]:
    return [line for line in process.stderr.splitlines() if line.startswith("refused connection")]


def replay(raw: socket.socket, recorded: bytes, *, is_patient: bool) -> int:
    """Say what somebody has said before; give how many bytes came back.

    Args:
        is_patient: wait for the answers to greeting and HELLO, as whoever was recorded has.
    """
    heard = 0
    parts = [GREETING_BYTES, GREETING_BYTES + HELLO_BYTES] if is_patient else []
    try:
        for begin, end in pairwise([0, *parts, len(recorded)]):
            raw.sendall(recorded[begin:end])
            if end < len(recorded):
                heard += len(raw.recv(65536))
        while data := raw.recv(65536):
            heard += len(data)
    except OSError:  # it hangs up while we still talk
        pass
    return heard


KINDS: dict[str, tuple[Callable[[str, Issued], object], tuple[str, ...]]] = {
    "no key": (
        lambda address, _: knocking(address),
        ("it has no CURVE keys", "it may have no CURVE keys"),
    ),
    "no key, by hand": (
        lambda address, _: by_hand(address),
        ("it has no CURVE keys", "it may have no CURVE keys"),
    ),
    "wrong server key": (
        lambda address, issued: knocking(address, issued.keys["misled"]),
        ("it has the key of another server",),
    ),
    "unlisted key": (
        lambda address, issued: knocking(address, issued.keys["unlisted"]),
        ("it has a key that is not in the allowlist, ",),
    ),
    "revoked key": (
        lambda address, issued: knocking(address, issued.keys["old"]),
        ("it has a key that was revoked, 'old'",),
    ),
    "plain": (
        lambda address, _: knocking(address, password=b"please"),
        ("it has no CURVE keys", "it may have no CURVE keys"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_peer_hears_no_weights_counts_for_nothing_and_is_named(
    lab: Lab, issued: Issued, kind: str
) -> None:
    knock, named = KINDS[kind]
    crew = Crew(lab, JOB, f"--keys={issued.directory}")
    crew.coordinator.wait_until_it_says("coordinator at")
    wait_until("the first checkpoint", lambda: RunDirectory(crew.run_dir).checkpoints.steps())
    floats = floats_of(crew)
    with Proxy(crew.address) as proxy:
        for trial in range(1, TRIALS + 1):
            with knock(proxy.address, issued):  # type: ignore[attr-defined]
                wait_until("a line", lambda n=trial: len(refusals(crew.coordinator)) >= n)

        lines = refusals(crew.coordinator)
        assert len(lines) == TRIALS
        assert all(any(words in line for words in named) for line in lines), lines
        assert sum(len(one[UP]) > 0 for one in proxy.recorded) == TRIALS
        assert all(len(one[DOWN]) <= HANDSHAKE_BYTES + ERROR_BYTES for one in proxy.recorded)
        assert found(floats, proxy) == 0
        assert (crew.steps, crew.members) == (0, [])

        [name] = crew.hire_and_wait(1, None, f"--key={issued.file('desk')}")
        crew.wait_for_step(5)
        crew.assert_as_if_nothing_had_happened()
        crew.assert_workers_leave([name])


@pytest.mark.parametrize("has_keys", [False, True])
def test_what_is_recorded_of_a_worker_holds_the_weights_only_without_keys(
    lab: Lab, issued: Issued, has_keys: bool
) -> None:
    """The scan of the trial above finds what it looks for; and a wire tap on a worker nothing."""
    flags, key = ([], []) if not has_keys else ([f"--keys={issued.directory}"], ["desk"])
    crew = Crew(lab, JOB, *flags)
    wait_until("the first checkpoint", lambda: RunDirectory(crew.run_dir).checkpoints.steps())
    floats = floats_of(crew)
    with Proxy(crew.address) as proxy:
        crew.hire_and_wait(1, proxy.address, *(f"--key={issued.file(name)}" for name in key))
        crew.wait_for_step(5)

        assert found(floats, proxy) == (0 if has_keys else len(floats))
        assert sum(len(one[DOWN]) for one in proxy.recorded) > FLOAT_BYTES * len(floats)


def test_a_recorded_connection_is_refused_when_it_is_played_again(lab: Lab, issued: Issued) -> None:
    crew = Crew(lab, JOB, f"--keys={issued.directory}")
    with Proxy(crew.address) as proxy:
        [name] = crew.hire_and_wait(1, proxy.address, f"--key={issued.file('desk')}")
        crew.wait_for_step(20)
        crew.assert_workers_leave([name])
        crew.wait_until_lost([name])
        recorded = bytes(proxy.recorded[0][UP])
        assert len(recorded) > 20 * FLOAT_BYTES * 100, "twenty gradients"

        steps = look(crew.run_dir, None).step
        wait_until("the line of every step", lambda: crew.steps == steps)
        host, _, port = crew.address.removeprefix("tcp://").rpartition(":")
        for trial in range(1, TRIALS + 1):
            with socket.create_connection((host, int(port))) as raw:
                raw.settimeout(10)
                assert replay(raw, recorded, is_patient=trial % 2 == 1) <= HANDSHAKE_BYTES
            wait_until("a line", lambda n=trial: len(refusals(crew.coordinator)) >= n)

    lines = refusals(crew.coordinator)
    assert len(lines) == TRIALS
    assert all("it has the key of another server, or repeats" in line for line in lines[::2])
    assert all("it breaks ZMTP's rules in the handshake" in line for line in lines[1::2])
    assert (crew.steps, crew.members) == (steps, [])
    crew.assert_as_if_nothing_had_happened()


def test_a_worker_whose_key_is_revoked_leaves_at_once_and_the_run_goes_on(
    lab: Lab, issued: Issued
) -> None:
    crew = Crew(lab, JOB, f"--keys={issued.directory}")
    [stays] = crew.hire_and_wait(1, None, f"--key={issued.file('desk')}")
    [leaves] = crew.hire_and_wait(1, None, f"--key={issued.file('laptop')}")
    crew.wait_for_step(crew.steps + 5)

    revoked = lab.run("keys", "revoke", "laptop", f"--keys={issued.directory}")

    assert revoked.exit_code() == 0, revoked.stderr
    crew.wait_until_lost([leaves], within_s=5)
    assert crew.workers[leaves].exit_code() == 78
    assert "'laptop', which was revoked" in crew.workers[leaves].errors[-1]
    assert "lost: its key was revoked" in crew.coordinator.stderr
    crew.wait_for_step(crew.steps + 20)
    again = crew.hire(None, f"--key={issued.file('laptop')}")
    crew.workers[again].wait_until_it_says("refused this key")
    assert crew.members == [stays]
    crew.assert_as_if_nothing_had_happened()


def test_a_key_that_is_made_while_a_run_goes_on_is_let_in(lab: Lab, issued: Issued) -> None:
    """By the worker that was refused before, without a restart of anything."""
    crew = Crew(lab, JOB, f"--keys={issued.directory}")
    name = crew.hire(None, f"--key={issued.file('unlisted')}")
    crew.workers[name].wait_until_it_says("refused this key")

    public = issued.directory / "allowed" / "late.pub"
    public.write_text(issued.keys["unlisted"].public + "\n")

    crew.wait_for_members([name])
    crew.wait_for_step(5)
    crew.assert_as_if_nothing_had_happened()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (None, ("wants CURVE keys: add --key FILE", "it may want CURVE keys")),
        ("misled", ("it may have other keys than this key file says",)),
        ("unlisted", ("refused this key, as one that was revoked or never listed",)),
        ("old", ("refused this key, as one that was revoked or never listed",)),
    ],
)
def test_a_worker_says_what_keeps_it_out(
    lab: Lab, issued: Issued, key: str | None, why: tuple[str, ...]
) -> None:
    crew = Crew(lab, JOB, f"--keys={issued.directory}")
    crew.coordinator.wait_until_it_says("coordinator at")
    flags = [] if key is None else [f"--key={issued.file(key)}"]

    worker = lab.run("worker", f"--connect={crew.address}", "--max-idle=2", *flags)

    assert worker.exit_code() == 1
    assert any(words in worker.errors[-1] for words in why), worker.stderr


def test_a_worker_with_a_key_tells_a_plain_coordinator_from_one_with_keys(
    lab: Lab, issued: Issued
) -> None:
    crew = Crew(lab, JOB)
    crew.coordinator.wait_until_it_says("coordinator at")
    key = f"--key={issued.file('desk')}"

    worker = lab.run("worker", f"--connect={crew.address}", "--max-idle=2", key)

    said = worker.errors[-1]
    assert "uses no CURVE keys" in said or "it may have other keys than this key file" in said
    crew.coordinator.wait_until_it_says("refused connection")
    assert facts(crew.coordinator) == []
