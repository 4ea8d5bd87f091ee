"""Handshakes that fail, and the sentence that each gives: strangers made by hand, real sockets."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import zmq

from tests.wire.test_transport import ENDED, port_of, until
from tests.wire.zmtp import COMMAND, frame, greeting, ready
from wire.transport import Change, Connection, Listener

pytestmark = pytest.mark.integration

NOT_ZMTP = "speaks no ZMTP 3, or has another kind of socket"
HUNG_UP = "hung up during the handshake; it may want CURVE keys or another kind of socket"
FELL_SILENT = "fell silent during the handshake"
WANTS_KEYS = "wants CURVE keys: add --key FILE, which gradflock keys new makes where it runs"
USES_KEYS = "uses CURVE keys, and this socket is plain: leave --key out"


@contextmanager
def zmq_socket(
    kind: int, server_key: bytes = b"", has_curve: bool = False
) -> "Iterator[zmq.Socket[bytes]]":
    """A socket of somebody else's program, with CURVE keys of its own if asked for."""
    with zmq.Context() as context, context.socket(kind) as theirs:
        theirs.set(zmq.LINGER, 0)
        if has_curve:
            public, secret = zmq.curve_keypair()
            theirs.set(zmq.CURVE_PUBLICKEY, public)
            theirs.set(zmq.CURVE_SECRETKEY, secret)
            if server_key:
                theirs.set(zmq.CURVE_SERVERKEY, server_key)
            else:
                theirs.set(zmq.CURVE_SERVER, 1)
        yield theirs


@contextmanager
def tcp_server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Accept one connection after the other, and do this with each."""
    connections = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed: the test is over
                return
            connections.append(connection)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def first_change(address: str) -> Change:
    with Connection(address) as connection:
        changes = until([connection], connection.changes)
        assert connection.is_up == changes[-1].is_up
    return changes[0]


def first_stranger(listener: Listener) -> str:
    return until([listener], listener.strangers)[0].wrong


# ---- who connects -------------------------------------------------------------------------------


def test_a_connection_to_a_port_where_nobody_listens_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert first_change(f"tcp://127.0.0.1:{port}") == Change(False, "nobody listens there")


def test_a_connection_to_a_host_that_is_not_known_says_so() -> None:
    change = first_change("tcp://no-such-host.invalid:5555")

    assert change == Change(False, "its host has no address")


def test_a_connection_to_a_web_server_says_that_it_is_no_zmtp() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with tcp_server(refuse) as address:
        assert first_change(address) == Change(False, f"what listens there {NOT_ZMTP}")


def test_a_connection_to_a_port_that_says_nothing_tells_of_the_silence() -> None:
    with tcp_server(lambda connection: None) as address:
        change = first_change(address)

    assert change == Change(False, f"what listens there {FELL_SILENT}")


def test_a_connection_to_a_port_that_hangs_up_says_so() -> None:
    with tcp_server(socket.socket.close) as address:
        change = first_change(address)

    assert change == Change(False, f"what listens there {HUNG_UP}")


def test_a_connection_to_another_kind_of_socket_says_so() -> None:
    with tcp_server(lambda connection: connection.sendall(greeting() + ready(b"PUB"))) as address:
        assert first_change(address) == Change(False, f"what listens there {NOT_ZMTP}")


def test_a_connection_to_a_curve_server_tells_of_the_keys() -> None:
    with tcp_server(lambda connection: connection.sendall(greeting(b"CURVE"))) as address:
        assert first_change(address) == Change(False, f"what listens there {WANTS_KEYS}")


@pytest.mark.parametrize(
    ("kind", "has_curve", "sentence"),
    [
        (zmq.PUB, False, NOT_ZMTP),
        (zmq.PULL, False, NOT_ZMTP),
        (zmq.REQ, False, NOT_ZMTP),
        (zmq.ROUTER, True, WANTS_KEYS),
    ],
)
def test_a_real_socket_that_does_not_fit_is_told_of_whoever_notices_first(
    kind: int, has_curve: bool, sentence: str
) -> None:
    """Both ends see that they do not fit; the slower one sees the other hang up."""
    with zmq_socket(kind, has_curve=has_curve) as theirs:
        port = theirs.bind_to_random_port("tcp://127.0.0.1")
        change = first_change(f"tcp://127.0.0.1:{port}")

    assert change.reason.removeprefix("what listens there ") in (sentence, HUNG_UP)


def test_a_connection_that_was_up_and_whose_other_end_is_gone_tells_both() -> None:
    listener = Listener("tcp://127.0.0.1:0")
    with Connection(listener.address) as connection:
        with listener:
            assert until([connection], connection.changes) == [Change(is_up=True)]
        changes = until([connection], connection.changes)
        later = changes[1:] or until([connection], connection.changes)

    assert changes[0] == ENDED
    assert later[0] == Change(False, "nobody listens there")


# ---- who listens --------------------------------------------------------------------------------

STRANGERS = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", NOT_ZMTP),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(190), NOT_ZMTP),
    "ZMTP 1": (b"\x01\x00\x06\x00hello", NOT_ZMTP),
    "ZMTP 2": (greeting()[:10] + b"\x01\x05\x00\x00", NOT_ZMTP),
    "silence": (b"", FELL_SILENT),
    "another kind of socket": (greeting() + ready(b"PUB"), NOT_ZMTP),
    "nonsense after the greeting": (
        greeting() + frame(b"\x05HELLO", COMMAND),
        "breaks ZMTP's rules",
    ),
    "another mechanism": (greeting(b"CURVE"), USES_KEYS),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_stranger_is_told_of_by_what_it_did(kind: str) -> None:
    data, sentence = STRANGERS[kind]

    with (
        Listener("tcp://127.0.0.1:0") as listener,
        socket.create_connection(("127.0.0.1", port_of(listener))) as raw,
    ):
        raw.sendall(data)
        said = first_stranger(listener)

    assert said.startswith(sentence)


def test_a_stranger_that_hangs_up_during_the_handshake_is_told_of() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        with socket.create_connection(("127.0.0.1", port_of(listener))) as raw:
            raw.sendall(greeting())

        assert first_stranger(listener) == HUNG_UP


@pytest.mark.parametrize(
    ("kind", "has_curve", "sentence"),
    [
        (zmq.PUB, False, NOT_ZMTP),
        (zmq.PUSH, False, NOT_ZMTP),
        (zmq.REP, False, NOT_ZMTP),
        (zmq.DEALER, True, USES_KEYS),
    ],
)
def test_a_real_client_that_does_not_fit_is_told_of_whoever_notices_first(
    kind: int, has_curve: bool, sentence: str
) -> None:
    server_key = zmq.curve_keypair()[0] if has_curve else b""
    with (
        Listener("tcp://127.0.0.1:0") as listener,
        zmq_socket(kind, server_key, has_curve) as theirs,
    ):
        theirs.connect(listener.address)

        assert first_stranger(listener).startswith((sentence, HUNG_UP))


def test_a_failed_handshake_is_not_held_against_a_member_that_leaves_later() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        with Connection(listener.address) as connection:
            until([connection], lambda: connection.send([b"hello"]))
            peer, _ = until([listener], listener.receive)
            with socket.create_connection(("127.0.0.1", port_of(listener))) as raw:
                raw.sendall(greeting())
            said = first_stranger(listener)

        assert until([listener], listener.departed) == [peer]
        assert said == HUNG_UP
        assert listener.strangers() == []
