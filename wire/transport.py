"""The sockets: a Listener for the side with an address, a Connection for the side without.

Neither knows what a message is; they carry lists of frames and never block. With a self-chosen
identity one peer may take another's seat, as was measured with libzmq 4.3.5.

Source: zguide, chapter 4 (Paranoid Pirate).
"""

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import zmq

from wire.address import check_address, check_target
from wire.errors import AddressInUse
from wire.keys import Allowlist, ClientKey, ServerKey
from wire.monitored import GOODBYE_MS, MonitoredSocket
from wire.security import (
    FAILURES,
    NO_ZMTP,
    Guard,
    secure_client,
    wrong_with_client,
    wrong_with_server,
)
from wire.tcp import hang_up, not_of_this_machine, peer_address

FRAME_BYTES_MAX = 16 * 1024 * 1024
RECONNECT_MS = 200
RECONNECT_MS_MAX = 5000
GONE_KEPT = 1024  # peers whose connection has ended; none leaves more unread than fits in a queue
UNSEEN = "an unknown address"  # of a connection that had ended before it was looked at
WAKES_READ = 64  # at once; more are read in the next wait


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened to a connection.

    Attributes:
        is_up: somebody is at the other end, and greets as we do.
        reason: why nobody is, for people; empty if somebody is.
    """

    is_up: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A connection that ended before a message came.

    Attributes:
        address: it came from, for people.
        wrong: what it did, or had: "speaks no ZMTP 3".
    """

    address: str
    wrong: str

    def __str__(self) -> str:
        return f"from {self.address}: it {self.wrong}"


class Listener(MonitoredSocket):
    """A bound ROUTER: many peers, each named by a routing id, of libzmq's choosing or its own.

    Attributes:
        address: where it really listens, the port filled in if 0 was asked for.
    """

    def __init__(
        self,
        address: str,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        security: tuple[ServerKey, Allowlist] | None = None,
    ) -> None:
        """Bind.

        Args:
            frame_bytes_max: a peer that announces a larger frame is cut off.
            security: our CURVE key, and whose keys are let in; None is a plain socket.

        Raises:
            AddressInUse: another process has the address.
            TransportError: the address is not one of this machine's, or not an address.
        """
        check_address(address)
        is_any_port = address.endswith(":0")
        super().__init__(zmq.ROUTER, frame_bytes_max)
        self._socket.set(zmq.IPV6, "[" in address)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._guard = None if security is None else Guard(self._context, self._socket, *security)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._watch(self._ear)
        if self._guard is not None:
            self._watch(self._guard.inbox)
        self._peer_of_connection: dict[int, bytes] = {}  # file descriptor -> routing id
        self._key_of_peer: dict[bytes, str] = {}
        self._address_of_connection: dict[int, str] = {}  # of those that are open
        self._gone: deque[bytes] = deque(maxlen=GONE_KEPT)  # something of theirs may be unread
        self._departed: list[bytes] = []
        self._failure = ""  # of the handshake whose connection is the next to end
        self._refused: list[str] = []  # by the guard: addresses of connections not ended yet
        self._strangers: list[Stranger] = []
        try:
            self._socket.bind(address.removesuffix(":0") + ":*" if is_any_port else address)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(address) from None
            raise not_of_this_machine(address, zmq.strerror(error.errno or 0)) from None
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT)

    def wake(self) -> None:
        """End the wait that is under way, or the next; for any thread, at any time."""
        with suppress(OSError):  # it rings already, or nobody waits any more
            self._bell.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Return when something has arrived, when somebody wakes it, or after timeout_s seconds."""
        super().wait(timeout_s)
        if self._guard is not None and self._guard.inbox in self._ready:
            for address, objection in self._guard.judge():
                self._strangers.append(Stranger(address, objection))
                self._refused.append(address)
        if self._ear.fileno() in self._ready:
            self._ear.recv(WAKES_READ)

    def close(self, linger_ms: int = GOODBYE_MS) -> None:
        """Close, giving messages already sent a moment to leave."""
        if self._guard is not None:
            self._guard.close()
        super().close(linger_ms)
        self._bell.close()
        self._ear.close()

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """Give the next message and the peer it came from, or None."""
        while True:
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            peer, frames = frame.bytes, []
            while frame.more:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
                frames.append(frame)
            if not frames or self._is_welcome(peer, frames[0]):
                return peer, [frame.bytes for frame in frames]

    def _is_welcome(self, peer: bytes, frame: zmq.Frame) -> bool:
        """Say whether a message is to be heard, by the key of its own connection.

        Whatever is known of its peer does not count: it may have chosen its routing id, and have
        had it before.
        """
        connection = int(frame.get(zmq.SRCFD))
        key = "" if self._guard is None else str(frame.get("User-Id"))
        is_known = self._peer_of_connection.get(connection) == peer
        if not is_known and peer not in self._gone:
            self._meet(peer, connection, key)
        if self._guard is None or not self._guard.allowlist.objection(key):
            return True
        if not is_known:  # of all others `allow` has told, and whoever asked it cuts them
            hang_up(connection)
        return False

    def _meet(self, peer: bytes, connection: int, key: str) -> None:
        """Take note of whose connection it is, the first time that something comes through it."""
        self._note_endings()  # of whoever had this descriptor before
        if connection not in self._address_of_connection:
            self._note_departure(peer)  # it has ended, and this was read late
            return
        before = self._peer_of_connection.get(connection)
        if before is not None:  # read late, too: its connection ended before this one began
            self._note_departure(before)
        self._peer_of_connection[connection] = peer
        self._key_of_peer[peer] = key

    def send(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        """Queue a message; False if the peer is gone, or so far behind that it should be."""
        try:
            self._socket.send_multipart([peer, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True

    def allow(self, allowlist: Allowlist) -> list[tuple[bytes, str]]:
        """Let in nobody but whom this list has.

        Returns:
            Peers that are in and should not be, with the names of their keys. They are not heard
            any more, and can be told before they are cut.
        """
        assert self._guard is not None, "only a socket with keys has a list"
        before, self._guard.allowlist = self._guard.allowlist, allowlist
        if any(allowlist.objection(key) for key in before.allowed):
            for connection in self._address_of_connection:
                if connection not in self._peer_of_connection:
                    hang_up(connection)  # whose it is, is not known; the honest come again
        return [
            (peer, before.name_of(key))
            for peer, key in self._key_of_peer.items()
            if allowlist.objection(key) and not before.objection(key)
        ]

    def cut(self, peer: bytes) -> None:
        """End a peer's connection, if it still has one; libzmq has no call for that."""
        self._note_endings()
        for connection, whose in self._peer_of_connection.items():
            if whose == peer:
                hang_up(connection)

    def departed(self) -> list[bytes]:
        """Give the peers whose connection has ended since the last call."""
        self._note_endings()
        departed, self._departed = self._departed, []
        return departed

    def strangers(self) -> list[Stranger]:
        """Give each connection that ended before a message came, since the last call."""
        self._note_endings()
        strangers, self._strangers = self._strangers, []
        return strangers

    def _note_endings(self) -> None:
        for event in self._monitor_events():
            kind, value = event["event"], int(event["value"])
            if kind == zmq.Event.ACCEPTED:
                self._address_of_connection[value] = peer_address(value)
            elif kind in FAILURES and kind != zmq.Event.HANDSHAKE_FAILED_AUTH:
                has_keys = self._guard is not None
                self._failure = wrong_with_client(kind, value, has_keys=has_keys)
            elif kind == zmq.Event.DISCONNECTED:
                self._note_end(value)

    def _note_end(self, connection: int) -> None:
        address = self._address_of_connection.pop(connection, "")
        peer = self._peer_of_connection.pop(connection, None)
        if peer is not None:
            self._note_departure(peer)
        elif address in self._refused or (not address and not self._failure and self._refused):
            self._refused.remove(address if address in self._refused else self._refused[0])
        else:
            wrong = self._failure or f"{NO_ZMTP}, or left without a word"
            self._strangers.append(Stranger(address or UNSEEN, wrong))
        self._failure = ""

    def _note_departure(self, peer: bytes) -> None:
        self._key_of_peer.pop(peer, None)
        self._departed.append(peer)
        if peer[:1] == b"\0":  # by libzmq's numbering: nobody gets this id again
            self._gone.append(peer)


class Connection(MonitoredSocket):
    """A connected DEALER. libzmq reconnects it by itself in most cases; a new one always can.

    Attributes:
        is_up: whether somebody was at the other end when `changes` was last asked.
    """

    def __init__(self, address: str, key: ClientKey | None = None) -> None:
        """Begin to connect.

        Args:
            key: None connects to a plain socket.

        Raises:
            TransportError: the address has not the form of one.
        """
        check_target(address)
        super().__init__(zmq.DEALER, FRAME_BYTES_MAX)
        self._has_keys = key is not None
        if key is not None:
            secure_client(self._socket, key)
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
        """Give what has happened to the connection since the last call, as of the last wait.

        libzmq tries again after some failures and never after others: who needs the other end
        takes a new socket.
        """
        changes: list[Change] = []
        if self._monitor not in self._ready:
            return changes
        for event in self._monitor_events():
            if change := self._change(event["event"], event["value"]):
                self.is_up = change.is_up
                changes.append(change)
        return changes

    def _change(self, event: int, value: int) -> Change | None:
        """Give what an event means, by those before it since the last attempt to connect."""
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            return Change(is_up=True)
        if event in FAILURES:
            self._failure = wrong_with_server(event, value, has_keys=self._has_keys)
        elif event == zmq.Event.DISCONNECTED:
            reason = f"what listens there {self._failure or NO_ZMTP}"
            self._failure, self._has_ended = "", True
            return Change(False, "the connection ended" if self.is_up else reason)
        elif event == zmq.Event.CLOSED:
            self._has_ended = True
            return Change(False, "nobody listens there")
        elif event == zmq.Event.CONNECT_RETRIED:
            has_ended, self._has_ended = self._has_ended, False
            return None if has_ended else Change(False, "its host has no address")
        return None
