"""Ways between two processes: each gives what makes one round trip to a process that answers.

The process that answers is there as long as the row: all rows are open at once, so that they can be
measured by turns. Whoever waits does so as our loops do, on a poll.
"""

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import zmq

from benchmarks.made_up import carrying, made_up
from wire.codec import decode, encode
from wire.digest import params_digest
from wire.keys import Allowlist, ClientKey, ServerKey
from wire.messages import Grad, Message, Ping, Pong, Ready, Task
from wire.security import new_client_key, new_server_key
from wire.transport import Connection, Listener

PARAMS = 4192  # of the default model, float64
VECTOR = bytes(8 * PARAMS)
ANY_PORT = "tcp://127.0.0.1:0"
SILENCE_S = 30.0  # then the process that answers has failed, and has said why

NO_ANSWER = "expected an answer, got none: see what the process that answers has said"

Trip: TypeAlias = Callable[[], None]

_SPAWN = multiprocessing.get_context("spawn")

TASK = carrying(Task, VECTOR, params_digest=params_digest(VECTOR))
PAIRS: dict[str, tuple[Message, Message]] = {
    "TASK, GRAD": (TASK, made_up(Grad, payload=VECTOR)),
    "PING, PONG": (made_up(Ping), made_up(Pong)),
}


@contextmanager
def beside(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Run a function in a process of its own until the caller is through."""
    process = _SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


# ---- ours ----------------------------------------------------------------------------------------


@contextmanager
def messages(pair: str, has_keys: bool) -> Iterator[Trip]:
    """Send a message from a Listener, decode it behind a Connection, and the answer here."""
    server, client = new_server_key(), None
    security: tuple[ServerKey, Allowlist] | None = None
    if has_keys:
        client = new_client_key("bench", server.public)
        security = (server, Allowlist({client.public: client.name}, {}))
    with (
        Listener(ANY_PORT, security=security) as listener,
        beside(_answer_messages, listener.address, client, pair),
    ):
        peer, _ = _heard(listener)
        there, _ = PAIRS[pair]

        def trip() -> None:
            listener.send(peer, encode(there))
            decode(_heard(listener)[1])

        yield trip


def _answer_messages(address: str, key: ClientKey | None, pair: str) -> None:
    _, back = PAIRS[pair]
    with Connection(address, key) as connection:
        connection.send(encode(made_up(Ready)))
        while True:
            connection.wait(SILENCE_S)
            connection.changes()  # what is not asked for ends every wait
            while (frames := connection.receive()) is not None:
                decode(frames)
                connection.send(encode(back))


def _heard(listener: Listener) -> tuple[bytes, list[bytes]]:
    while (received := listener.receive()) is None:
        began_s = time.monotonic()
        listener.wait(SILENCE_S)
        if listener.departed() or time.monotonic() - began_s >= SILENCE_S:
            raise SystemExit(NO_ANSWER)
    return received


# ---- what lies below -----------------------------------------------------------------------------


@contextmanager
def bare_zmq() -> Iterator[Trip]:
    """Send as many bytes each way from a ROUTER to a DEALER, over tcp, without a codec."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.RCVTIMEO, int(1000 * SILENCE_S))
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with beside(_answer_zmq, port):
            peer, _ = router.recv_multipart()

            def trip() -> None:
                router.send_multipart([peer, VECTOR])
                router.recv_multipart()

            yield trip


def _answer_zmq(port: int) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.connect(f"tcp://127.0.0.1:{port}")
        dealer.send(b"")
        while True:
            dealer.recv()
            dealer.send(VECTOR)


@contextmanager
def unix_socket() -> Iterator[Trip]:
    here, there = socket.socketpair()
    with here, beside(_answer_stream, there):
        there.close()
        yield lambda: _stream_trip(here)


@contextmanager
def tcp_socket() -> Iterator[Trip]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        beside(_answer_tcp, server.getsockname()),
    ):
        server.settimeout(SILENCE_S)
        here, _ = server.accept()
        here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with here:
            yield lambda: _stream_trip(here)


def _answer_tcp(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _answer_stream(stream)


def _answer_stream(stream: socket.socket) -> None:
    while _read_vector(stream):
        stream.sendall(VECTOR)


def _stream_trip(stream: socket.socket) -> None:
    stream.sendall(VECTOR)
    if not _read_vector(stream):
        raise SystemExit(NO_ANSWER)


def _read_vector(stream: socket.socket) -> bool:
    """Read one vector; False if the other end is gone."""
    left = len(VECTOR)
    while left:
        read = len(stream.recv(left))
        if not read:
            return False
        left -= read
    return True
