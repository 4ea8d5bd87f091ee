"""The network between workers' sockets and the coordinator's listener, with seeded faults.

A connection is a worker's socket: it makes links by itself, as libzmq does, one after another,
until it is closed. A link is one TCP connection: in order and without loss while nothing fails,
with a routing id of its own. Its two sides may learn at different times that it has ended.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from tests.simulation.clock import Clock
from tests.simulation.faults import Faults
from tests.simulation.plan import Kind
from wire.codec import decode, encode
from wire.errors import WireError
from wire.messages import Hello, Message, Refuse, Welcome

RECONNECT_S = 0.2, 1.0  # libzmq's own patience between two attempts
LATE_S = 5.0  # how long a copy, or a message that lost its place, may take at most
ENDING_S = 0.0, 4.0, 60.0  # how long a side may take to notice an end; TCP keepalive ends it
QUEUE_MAX = 64  # messages that a socket without a link keeps
REMEMBERED = 40  # frames of each process that may come back as ghosts
FOREIGN_RUN = "0f" * 16

Frames = Sequence[bytes]


class Way(Enum):
    UP = "up"  # from the worker
    DOWN = "down"


class WorkerSide(Protocol):
    """The process that owns a connection."""

    name: str
    kind: Kind

    def arrive(self, connection: "Connection", frames: Frames) -> None: ...

    def change(self, connection: "Connection", is_up: bool) -> None: ...


class CoordinatorSide(Protocol):
    """The process behind the listener."""

    def arrive(self, peer: bytes, frames: Frames) -> None: ...

    def depart(self, peer: bytes) -> None: ...


@dataclass(eq=False, slots=True)
class Connection:
    """A worker's socket."""

    owner: WorkerSide
    is_closed: bool = False
    link: "Link | None" = None
    queue: deque[Frames] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class Link:
    """One established TCP connection.

    Attributes:
        is_open: for each direction, whether its receiving side still takes anything.
        ready_s: for each direction, when the last message that was sent arrives.
        held: for each direction, what a partition keeps; None where there is none.
    """

    peer: bytes
    connection: Connection
    listener: CoordinatorSide
    is_open: dict[Way, bool]
    ready_s: dict[Way, float]
    held: dict[Way, list[Frames] | None]


class Network:
    """All links of one world.

    Attributes:
        owners: the process behind each peer there ever was.
    """

    def __init__(self, clock: Clock, faults: Faults, latency_s: float) -> None:
        self._clock = clock
        self._faults = faults
        self._rng = faults.rng
        self._latency_s = latency_s
        self.owners: dict[bytes, WorkerSide] = {}
        self._listener: CoordinatorSide | None = None
        self._links: dict[bytes, Link] = {}
        self._next_peer = 1
        self._partitions: dict[str, set[Way]] = {}
        self._memory: dict[tuple[str, Way], deque[Frames]] = {}

    # ---- the two ends ------------------------------------------------------------------------

    def listen(self, listener: CoordinatorSide) -> None:
        assert self._listener is None
        self._listener = listener

    def stop_listening(self) -> None:
        """The coordinator's process has ended: its kernel says so on every link."""
        self._listener = None
        for link in list(self._links.values()):
            link.is_open[Way.UP] = False
            del self._links[link.peer]
            self._end(link, Way.DOWN, self._latency())

    def connect(self, owner: WorkerSide) -> Connection:
        connection = Connection(owner)
        self._clock.after(self._latency(), self._attempt, connection)
        return connection

    def close(self, connection: Connection) -> None:
        """The worker gives its socket up, or its process has ended."""
        connection.is_closed = True
        link = connection.link
        if link is not None:
            connection.link = None
            link.is_open[Way.DOWN] = False
            self._end(link, Way.UP, self._latency())

    def send_up(self, connection: Connection, frames: Frames) -> bool:
        """Send, or keep for the next link; False if too much is kept already."""
        self._remember(connection.owner.name, Way.UP, frames)
        link = connection.link
        if link is None:
            connection.queue.append(frames)
            return len(connection.queue) <= QUEUE_MAX
        self._transmit(link, Way.UP, frames)
        return True

    def send_down(self, peer: bytes, frames: Frames) -> bool:
        """Send; False if the peer is gone."""
        link = self._links.get(peer)
        if link is None:
            return False
        self._remember(link.connection.owner.name, Way.DOWN, frames)
        self._transmit(link, Way.DOWN, frames)
        return True

    # ---- blows -------------------------------------------------------------------------------

    def cut(self) -> bool:
        """End a link; its sides notice when they do, and what is under way may be lost."""
        link = self._any_link()
        if link is None:
            return False
        self._clock.say("network", f"cuts {link.connection.owner.name}")
        for way in Way:
            self._end(link, way, self._rng.uniform(0, self._rng.choice(ENDING_S)))
        return True

    def part(self, name: str, ways: set[Way], heal_s: float) -> None:
        """Hold back all that one worker and the coordinator say to each other, in some ways."""
        self._partitions[name] = ways
        for link in list(self._links.values()):
            if link.connection.owner.name == name:
                for way in (way for way in Way if way in ways):  # a set has no order
                    link.held[way] = link.held[way] or []
        self._clock.after(heal_s, self._heal, name)

    def haunt(self, is_foreign: bool) -> bool:
        """Deliver an old message of a process once more, perhaps as one of another run."""
        link = self._any_link()
        if link is None:
            return False
        way = self._rng.choice((Way.UP, Way.UP, Way.DOWN))
        memory = self._memory.get((link.connection.owner.name, way))
        if not memory:
            return False
        frames = self._rng.choice(memory)
        message = _read(frames)
        if message is None or isinstance(message, Refuse):  # has no session: it is always believed
            return False
        if is_foreign:
            if isinstance(message, Hello | Welcome):
                return False
            frames = encode(replace(message, run=FOREIGN_RUN))
        self._clock.after(self._latency(), self._deliver, link, way, frames)
        return True

    # ---- links -------------------------------------------------------------------------------

    def _attempt(self, connection: Connection) -> None:
        if connection.is_closed or connection.link is not None:
            return
        if self._listener is None or connection.owner.name in self._partitions:
            self._clock.after(self._rng.uniform(*RECONNECT_S), self._attempt, connection)
            return
        peer = b"peer-%d" % self._next_peer
        self._next_peer += 1
        link = Link(
            peer=peer,
            connection=connection,
            listener=self._listener,
            is_open=dict.fromkeys(Way, True),
            ready_s=dict.fromkeys(Way, self._clock.now),
            held=dict.fromkeys(Way),
        )
        self._links[peer] = connection.link = link
        self.owners[peer] = connection.owner
        connection.owner.change(connection, True)
        while connection.queue and connection.link is link:
            self._transmit(link, Way.UP, connection.queue.popleft())

    def _end(self, link: Link, way: Way, delay_s: float) -> None:
        """Let the receiver of a direction learn of the end, after what was sent before."""
        at_s = max(self._clock.now + delay_s, link.ready_s[way])
        self._clock.after(at_s - self._clock.now, self._notice, link, way)

    def _notice(self, link: Link, way: Way) -> None:
        connection = link.connection
        if way is Way.UP:
            if link.is_open[Way.UP]:
                link.is_open[Way.UP] = False
                self._links.pop(link.peer, None)
                link.listener.depart(link.peer)
        elif link.is_open[Way.DOWN]:
            link.is_open[Way.DOWN] = False
            connection.link = None
            connection.owner.change(connection, False)
            self._clock.after(self._rng.uniform(*RECONNECT_S), self._attempt, connection)

    def _any_link(self) -> Link | None:
        links = list(self._links.values())
        return self._rng.choice(links) if links else None

    # ---- partitions --------------------------------------------------------------------------

    def _heal(self, name: str) -> None:
        self._partitions.pop(name, None)
        for link in list(self._links.values()):
            if link.connection.owner.name != name:
                continue
            for way in Way:
                held, link.held[way] = link.held[way], None
                for frames in held or ():
                    self._carry(link, way, frames)

    # ---- messages ----------------------------------------------------------------------------

    def _latency(self) -> float:
        return self._rng.expovariate(1 / self._latency_s)

    def _transmit(self, link: Link, way: Way, frames: Frames) -> None:
        held = link.held[way]
        if held is not None:
            held.append(frames)
            return
        faults = self._faults
        if faults.strikes("lost"):
            faults.count("lost")
            self._clock.say("network", f"loses {_name(frames)} of {link.connection.owner.name}")
            return
        if faults.strikes("duplicated"):
            faults.count("duplicated")
            late_s = self._rng.uniform(0, LATE_S) * self._rng.choice((0.01, 1))
            self._clock.after(late_s, self._deliver, link, way, frames)
        if faults.strikes("corrupted"):
            faults.count("corrupted")
            frames = _flipped(frames, self._rng.randrange(8 * len(b"".join(frames))))
        if faults.strikes("reordered"):
            faults.count("reordered")
            late_s = self._rng.uniform(0, LATE_S) * self._rng.choice((0.01, 0.1, 1))
            self._clock.after(late_s, self._deliver, link, way, frames)
        else:
            self._carry(link, way, frames)

    def _carry(self, link: Link, way: Way, frames: Frames) -> None:
        at_s = max(self._clock.now + self._latency(), link.ready_s[way])
        link.ready_s[way] = at_s
        self._clock.after(at_s - self._clock.now, self._deliver, link, way, frames)

    def _deliver(self, link: Link, way: Way, frames: Frames) -> None:
        if not link.is_open[way]:
            return
        if way is Way.UP:
            link.listener.arrive(link.peer, frames)
        else:
            link.connection.owner.arrive(link.connection, frames)

    def _remember(self, name: str, way: Way, frames: Frames) -> None:
        """Keep what may come back as a ghost; heartbeats are of no interest."""
        if b"PING" in frames[1] or b"PONG" in frames[1]:
            return
        self._memory.setdefault((name, way), deque(maxlen=REMEMBERED)).append(frames)


def _read(frames: Frames) -> Message | None:
    try:
        return decode(frames)
    except WireError:
        return None


def _name(frames: Frames) -> str:
    return type(_read(frames)).__name__.upper()


def _flipped(frames: Frames, bit: int) -> Frames:
    """Flip one bit of a message, counted over its frames."""
    flipped = [bytearray(frame) for frame in frames]
    for frame in flipped:
        if bit < 8 * len(frame):
            frame[bit // 8] ^= 1 << bit % 8
            break
        bit -= 8 * len(frame)
    return [bytes(frame) for frame in flipped]
