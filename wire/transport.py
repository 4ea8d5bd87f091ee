"""The sockets: a Listener for the side with an address, a Connection for the side without.

Neither knows what a message is; they carry lists of frames and never block. Options follow what was
measured with libzmq 4.3.5: without a size limit one frame may fill the memory, with a self-chosen
identity one peer may take another's seat, and its heartbeats can abort a process.

Source: zguide, chapter 4 (Paranoid Pirate); libzmq's zmq_setsockopt(3) and zmq_socket_monitor(3).
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from wire.address import check_address, check_target
from wire.errors import AddressInUse, TransportError

FRAME_BYTES_MAX = 16 * 1024 * 1024
RECEIVE_MESSAGES = 16  # waiting from one peer; bounds what a flood can make us hold
SEND_MESSAGES = 64  # waiting for one peer; one this far behind is as good as gone
KEEPALIVE_S = (30, 10, 3)  # idle time, then this often, so many times: frees what is unplugged
HANDSHAKE_MS = 2000  # frees the descriptor of a client that connects and says nothing
RECONNECT_MS = 200
RECONNECT_MS_MAX = 5000
WAKES_READ = 64  # at once; more are read in the next wait
GOODBYE_MS = 500  # how long a close may wait for the last messages to leave

_FAILURES = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_AUTH,
)
_MECHANISM = int(zmq.Event.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET)  # any other number is left from something before
# libzmq ends these connections at the first byte that does not fit, and says no more about them.
_NO_ZMTP = "speaks no ZMTP 3, or has another kind of socket"


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened to a connection.

    Attributes:
        is_up: somebody is at the other end, and greets as we do.
        reason: why nobody is, for people; empty if somebody is.
    """

    is_up: bool
    reason: str = ""


def check_free(address: str) -> None:
    """Make sure that an address could be bound, without ever accepting a connection on it.

    Raises:
        AddressInUse: another process has the address.
        TransportError: the address is not one of this machine's, or not an address.
    """
    host, _, port = check_address(address).removeprefix("tcp://").rpartition(":")
    host, port = host.strip("[]").replace("*", "0.0.0.0"), port.replace("*", "0")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(address) from None
        raise _not_of_this_machine(address, error.strerror or str(error)) from None


def _not_of_this_machine(address: str, reason: str) -> TransportError:
    return TransportError(
        f"expected an address of this machine, got {address!r} ({reason})"
        " — bind; give one of its own, or 127.0.0.1"
    )


def _failure(event: int, value: int) -> str:
    """Say what a peer did wrong whose handshake failed; what it is called comes before."""
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return "failed authentication"
    if event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
        if value in _HUNG_UP:  # perhaps because it saw first that the two ends do not fit
            return "hung up during the handshake; it may want CURVE keys or another kind of socket"
        return "fell silent during the handshake"
    if value == _MECHANISM:
        return "has other security: one end uses CURVE keys, the other does not"
    return "breaks ZMTP's rules in the handshake"


class _Socket:
    """What a Listener and a Connection share: limits, a monitor, and closing."""

    def __init__(self, kind: int, frame_bytes_max: int) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(kind)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.MAXMSGSIZE, frame_bytes_max)
        self._socket.set(zmq.RCVHWM, RECEIVE_MESSAGES)
        self._socket.set(zmq.SNDHWM, SEND_MESSAGES)
        self._socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        # No ZMTP heartbeats: one that meets a connection which was reset while more than RCVHWM of
        # its messages waited aborts the process (libzmq 4.3.5, stream_engine_base.cpp:310). Our own
        # PING and PONG notice a stopped peer, TCP an unplugged one.
        idle_s, interval_s, count = KEEPALIVE_S
        self._socket.set(zmq.TCP_KEEPALIVE, 1)
        self._socket.set(zmq.TCP_KEEPALIVE_IDLE, idle_s)
        self._socket.set(zmq.TCP_KEEPALIVE_INTVL, interval_s)
        self._socket.set(zmq.TCP_KEEPALIVE_CNT, count)
        # With a ZAP domain set, bytes that are not ZMTP 3 are not taken for messages.
        self._socket.set(zmq.ZAP_DOMAIN, b"gradflock")
        self._monitor = self._socket.get_monitor_socket()

    def wait(self, timeout_s: float) -> None:
        """Return when something has arrived, or after timeout_s seconds."""
        self._poll(timeout_s)

    def _poll(self, timeout_s: float, *others: socket.socket) -> None:
        poller = zmq.Poller()
        for one in (self._socket, self._monitor, *others):
            poller.register(one, zmq.POLLIN)
        poller.poll(int(timeout_s * 1000))

    def close(self, linger_ms: int = GOODBYE_MS) -> None:
        """Close, giving messages already sent a moment to leave."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _monitor_events(self) -> list[dict[str, Any]]:
        events = []
        while self._monitor.poll(0):
            events.append(dict(recv_monitor_message(self._monitor)))
        return events


class Listener(_Socket):
    """A bound ROUTER: many peers, each named by a routing id of libzmq's choosing.

    Attributes:
        address: where it really listens, the port filled in if 0 was asked for.
    """

    def __init__(self, address: str, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        """Bind.

        Args:
            frame_bytes_max: a peer that announces a larger frame is cut off.

        Raises:
            AddressInUse: another process has the address.
            TransportError: the address is not one of this machine's, or not an address.
        """
        check_address(address)
        is_any_port = address.endswith(":0")
        super().__init__(zmq.ROUTER, frame_bytes_max)
        self._socket.set(zmq.IPV6, "[" in address)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._peer_of_connection: dict[int, bytes] = {}  # file descriptor -> routing id
        self._departed: list[bytes] = []
        self._failure = ""  # of the handshake whose connection is the next to end
        self._strangers: list[str] = []
        try:
            self._socket.bind(address.removesuffix(":0") + ":*" if is_any_port else address)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(address) from None
            raise _not_of_this_machine(address, zmq.strerror(error.errno or 0)) from None
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT)

    def wake(self) -> None:
        """End the wait that is under way, or the next; for any thread, at any time."""
        with suppress(OSError):  # it rings already, or nobody waits any more
            self._bell.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Return when something has arrived, when somebody wakes it, or after timeout_s seconds."""
        self._poll(timeout_s, self._ear)
        with suppress(BlockingIOError):
            self._ear.recv(WAKES_READ)

    def close(self, linger_ms: int = GOODBYE_MS) -> None:
        """Close, giving messages already sent a moment to leave."""
        super().close(linger_ms)
        self._bell.close()
        self._ear.close()

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """Give the next message and the peer it came from, or None."""
        try:
            peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if frames:
            connection = int(frames[0].get(zmq.SRCFD))
            if self._peer_of_connection.get(connection) != peer.bytes:
                self._note_endings()  # of whoever had this descriptor before
                self._peer_of_connection[connection] = peer.bytes
        return peer.bytes, [frame.bytes for frame in frames]

    def send(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        """Queue a message; False if the peer is gone, or so far behind that it should be."""
        try:
            self._socket.send_multipart([peer, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True

    def departed(self) -> list[bytes]:
        """Give the peers whose connection has ended since the last call."""
        self._note_endings()
        departed, self._departed = self._departed, []
        return departed

    def strangers(self) -> list[str]:
        """Say what each connection did that ended before a message came, since the last call."""
        self._note_endings()
        strangers, self._strangers = self._strangers, []
        return strangers

    def _note_endings(self) -> None:
        for event in self._monitor_events():
            if event["event"] in _FAILURES:
                self._failure = _failure(event["event"], event["value"])
            elif event["event"] == zmq.Event.DISCONNECTED:
                peer = self._peer_of_connection.pop(int(event["value"]), None)
                if peer is None:
                    self._strangers.append(self._failure or f"{_NO_ZMTP}, or left without a word")
                else:
                    self._departed.append(peer)
                self._failure = ""


class Connection(_Socket):
    """A connected DEALER. libzmq reconnects it by itself in most cases; a new one always can.

    Attributes:
        is_up: whether somebody was at the other end when `changes` was last asked.
    """

    def __init__(self, address: str) -> None:
        """Begin to connect.

        Raises:
            TransportError: the address has not the form of one.
        """
        check_target(address)
        super().__init__(zmq.DEALER, FRAME_BYTES_MAX)
        self._socket.set(zmq.IPV6, "[" in address)
        # Not IMMEDIATE: with it, libzmq drops what has arrived but is not read yet when the
        # connection ends (socket_base_t::hiccuped), and the last word of a coordinator is BYE.
        self._socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        self._failure = ""  # of the handshake that has just failed
        self._has_ended = False  # the attempt to connect, for a reason that was said
        self._socket.connect(address)
        self.is_up = False

    def receive(self) -> list[bytes] | None:
        """Give the next message, or None."""
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def send(self, frames: Sequence[bytes]) -> bool:
        """Queue a message, for whoever is or will be there; False if the queue is full."""
        try:
            self._socket.send_multipart(list(frames), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def changes(self) -> list[Change]:
        """Give what has happened to the connection since the last call.

        libzmq tries again after some failures and never after others: who needs the other end
        takes a new socket.
        """
        changes = []
        for event in self._monitor_events():
            if change := self._change(event["event"], event["value"]):
                self.is_up = change.is_up
                changes.append(change)
        return changes

    def _change(self, event: int, value: int) -> Change | None:
        """Give what an event means, by those before it since the last attempt to connect."""
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            return Change(is_up=True)
        if event in _FAILURES:
            self._failure = _failure(event, value)
        elif event == zmq.Event.DISCONNECTED:
            reason = f"what listens there {self._failure or _NO_ZMTP}"
            self._failure, self._has_ended = "", True
            return Change(False, "the connection ended" if self.is_up else reason)
        elif event == zmq.Event.CLOSED:
            self._has_ended = True
            return Change(False, "nobody listens there")
        elif event == zmq.Event.CONNECT_RETRIED:
            has_ended, self._has_ended = self._has_ended, False
            return None if has_ended else Change(False, "its host has no address")
        return None
