"""Real sockets over loopback, both ends in this process; nothing here may block for ever."""

import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Timer

import pytest

from wire.errors import AddressInUse, TransportError
from wire.transport import FRAME_BYTES_MAX, Change, Connection, Listener

pytestmark = pytest.mark.integration

PATIENCE_S = 5.0
ENDED = Change(False, "the connection ended")


def until(sockets: list[Listener | Connection], attempt: Callable[[], object]) -> object:
    """Try whenever a socket stirs; the last result, or a failure after a few seconds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (result := attempt()):
        assert time.monotonic() < deadline_s, "nothing happened"
        for one in sockets:
            one.wait(0.005)
    return result


def went_down(connection: Connection) -> bool:
    return any(not change.is_up for change in connection.changes())


def port_of(listener: Listener) -> int:
    return int(listener.address.rpartition(":")[2])


def test_messages_go_both_ways_whole() -> None:
    with Listener("tcp://127.0.0.1:0") as listener, Connection(listener.address) as connection:
        until([connection], lambda: connection.send([b"digest", b"", b"\x00" * 100_000]))
        peer, frames = until([listener], listener.receive)

        is_sent = listener.send(peer, [b"answer", b""])
        answer = until([connection], connection.receive)

    assert frames == [b"digest", b"", b"\x00" * 100_000]
    assert is_sent
    assert answer == [b"answer", b""]


def test_receiving_returns_at_once_when_nothing_has_come() -> None:
    with Listener("tcp://127.0.0.1:0") as listener, Connection(listener.address) as connection:
        assert listener.receive() is None
        assert connection.receive() is None


def test_a_free_port_is_named_once_it_is_bound() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        assert listener.address.startswith("tcp://127.0.0.1:")
        assert port_of(listener) > 0


def test_a_busy_port_is_named() -> None:
    with Listener("tcp://127.0.0.1:0") as listener, pytest.raises(AddressInUse) as refusal:
        Listener(listener.address)

    assert listener.address in str(refusal.value)
    assert refusal.value.address == listener.address


def test_a_port_is_free_again_after_close() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        address = listener.address

    with Listener(address) as again:
        assert again.address == address


@pytest.mark.parametrize("address", ["tcp://203.0.113.7:5555", "tcp://no-such-host.invalid:5555"])
def test_an_address_of_another_machine_cannot_be_bound(address: str) -> None:
    with pytest.raises(TransportError, match="expected an address of this machine") as refusal:
        Listener(address)

    assert repr(address) in str(refusal.value)


def test_peers_are_told_apart() -> None:
    with (
        Listener("tcp://127.0.0.1:0") as listener,
        Connection(listener.address) as one,
        Connection(listener.address) as other,
    ):
        until([one], lambda: one.send([b"one"]))
        until([other], lambda: other.send([b"other"]))
        received = [until([listener], listener.receive) for _ in range(2)]
        peers = {frames[0]: peer for peer, frames in received}
        listener.send(peers[b"other"], [b"to the other"])

        assert until([other], other.receive) == [b"to the other"]
        assert one.receive() is None
        assert len(set(peers.values())) == 2


def test_a_peer_that_closes_has_departed() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        with Connection(listener.address) as connection:
            until([connection], lambda: connection.send([b"hello"]))
            peer, _ = until([listener], listener.receive)

        assert until([listener], listener.departed) == [peer]
        assert listener.departed() == []


def test_what_connects_and_says_nothing_of_ours_is_counted_once() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        with socket.create_connection(("127.0.0.1", port_of(listener))) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert len(until([listener], lambda: listener.departed() or listener.strangers())) == 1
        assert listener.strangers() == []


def test_a_message_to_a_peer_that_is_gone_is_not_sent() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        with Connection(listener.address) as connection:
            until([connection], lambda: connection.send([b"hello"]))
            peer, _ = until([listener], listener.receive)
        until([listener], listener.departed)

        assert not listener.send(peer, [b"are you there?"])


def test_a_message_to_a_peer_that_never_was_is_not_sent() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        assert not listener.send(b"\x00none", [b"hello"])


def test_what_was_said_before_the_connection_ended_can_still_be_read() -> None:
    """A coordinator says BYE and goes; a worker that was busy reads it afterwards."""
    listener = Listener("tcp://127.0.0.1:0")
    with Connection(listener.address) as connection:
        connection.send([b"hello"])
        with listener:
            peer, _ = until([listener], listener.receive)
            listener.send(peer, [b"bye"])
        until([connection], lambda: went_down(connection))

        assert connection.receive() == [b"bye"]


def test_a_connection_tells_when_it_comes_up_and_goes_down() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        connection = Connection(listener.address)
        assert until([connection], connection.changes) == [Change(is_up=True)]
        assert connection.is_up
    with connection:
        assert until([connection], connection.changes)[0] == ENDED
        assert not connection.is_up


def test_an_oversized_frame_ends_its_peer_and_nobody_else() -> None:
    with (
        Listener("tcp://127.0.0.1:0") as listener,
        Connection(listener.address) as good,
        Connection(listener.address) as greedy,
    ):
        until([good], lambda: good.send([b"first"]))
        until([listener], listener.receive)
        until([greedy], lambda: greedy.send([b"small"]))
        until([listener], listener.receive)

        greedy.send([bytes(FRAME_BYTES_MAX + 1)])
        until([greedy, listener], lambda: went_down(greedy))
        good.send([b"second"])

        assert until([listener], listener.receive)[1] == [b"second"]


def test_a_peer_that_does_not_read_never_blocks_the_listener() -> None:
    with Listener("tcp://127.0.0.1:0") as listener, Connection(listener.address) as connection:
        until([connection], lambda: connection.send([b"hello"]))
        peer, _ = until([listener], listener.receive)

        began_s = time.monotonic()
        sent = [listener.send(peer, [bytes(1_000_000)]) for _ in range(300)]
        took_s = time.monotonic() - began_s

    assert not all(sent)
    assert took_s < PATIENCE_S


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="HTTP"),
        pytest.param(random.Random(1).randbytes(4096), id="random bytes"),
        pytest.param(b"\x01\x00\x06\x00hello", id="ZMTP 1.0"),
        pytest.param(b"\xff" * 64, id="0xff"),
        pytest.param(b"\x00" * 64, id="zeros"),
        pytest.param(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00", id="ZMTP 3 cut short"),
        pytest.param(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05\x00\x00", id="ZMTP 2"),
    ],
)
def test_bytes_that_are_not_zmtp_3_deliver_nothing_and_the_listener_lives(garbage: bytes) -> None:
    with (
        Listener("tcp://127.0.0.1:0") as listener,
        socket.create_connection(("127.0.0.1", port_of(listener))) as raw,
        Connection(listener.address) as connection,
    ):
        raw.sendall(garbage)
        until([connection], lambda: connection.send([b"hello"]))
        _, first = until([listener], listener.receive)
        listener.wait(0.05)

        assert first == [b"hello"]
        assert listener.receive() is None


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:99999", "127.0.0.1:5555", ""])
def test_neither_end_takes_what_is_no_address(address: str) -> None:
    for end in (Listener, Connection):
        with pytest.raises(TransportError, match="expected an address like"):
            end(address)


@pytest.mark.parametrize("address", ["tcp://*:5555", "tcp://127.0.0.1:*"])
def test_an_address_that_can_only_be_bound_is_refused_when_connecting(address: str) -> None:
    with pytest.raises(TransportError):
        Connection(address)


def test_another_thread_wakes_who_waits() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        listener.departed()  # takes in that it listens, which would end a wait too
        began_s = time.monotonic()
        waker = Timer(0.05, listener.wake)
        waker.start()
        listener.wait(PATIENCE_S)
        waited_s = time.monotonic() - began_s
        waker.join()

        assert 0.04 < waited_s < PATIENCE_S / 2


def test_a_wake_that_comes_first_is_not_lost_and_counts_once() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        listener.departed()
        listener.wake()
        listener.wake()
        began_s = time.monotonic()
        listener.wait(PATIENCE_S)
        woken_s = time.monotonic()
        listener.wait(0.05)

        assert woken_s - began_s < PATIENCE_S / 2
        assert time.monotonic() - woken_s >= 0.04


def test_waking_who_has_left_does_nothing() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        for _ in range(10_000):  # more than anybody reads
            listener.wake()
    listener.wake()


def test_what_is_read_after_its_connection_has_ended_is_of_nobody_who_comes_later() -> None:
    """A descriptor is given again: who gets it next is not whoever had it."""
    others = [socket.socket() for _ in range(16)]  # made first: what ends is free for the listener
    with Listener("tcp://127.0.0.1:0") as listener, ExitStack() as stack:
        with Connection(listener.address) as connection:
            until([connection], connection.changes)
            connection.send([b"the last word"])
        until([listener], lambda: listener.departed() + listener.strangers())
        until([listener], listener.receive)
        for other in map(stack.enter_context, others):
            other.connect(("127.0.0.1", port_of(listener)))
            listener.wait(0.1)
        listener.departed()
        stack.close()

        strangers: list[object] = []
        until([listener], lambda: strangers.extend(listener.strangers()) or len(strangers) == 16)
        assert listener.departed() == []
