"""The workers of this generation, as the coordinator knows them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.events import Peer

SILENCE_S = 3.0  # three heartbeats, as in zguide's Paranoid Pirate
SILENCE_DOCUMENTS = 10  # a worker is silent while it computes a document
PREPARE_S = 120.0  # from WELCOME to READY: time to import, build and probe the engine


@dataclass(slots=True)
class Member:
    """One session of one worker.

    Attributes:
        is_ready: it has said READY; before that it gets no work.
        params_digest: the parameters it holds, empty for none.
        document_s: the longest it has been seen, or has said, to take for one document, or for
            whatever more it does without looking at its socket.
        leases: ids of the leases it holds, oldest first.
    """

    peer: Peer
    sid: int
    name: str
    host: str
    pid: int
    last_heard_s: float
    pinged_s: float
    is_ready: bool = False
    params_digest: str = ""
    document_s: float = 0.0
    leases: list[int] = field(default_factory=list)

    @property
    def silence_limit_s(self) -> float:
        if not self.is_ready:
            return PREPARE_S
        return max(SILENCE_S, SILENCE_DOCUMENTS * self.document_s)


class Members:
    """Members by peer, in the order in which they came."""

    def __init__(self) -> None:
        self._by_peer: dict[Peer, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._by_peer.values()))

    def add(self, member: Member) -> None:
        assert member.peer not in self._by_peer
        self._by_peer[member.peer] = member

    def remove(self, member: Member) -> None:
        del self._by_peer[member.peer]

    def of_peer(self, peer: Peer) -> Member | None:
        return self._by_peer.get(peer)

    def of_session(self, peer: Peer, sid: int) -> Member | None:
        """Give the member that speaks from this peer in this session, if it is one."""
        member = self._by_peer.get(peer)
        return member if member is not None and member.sid == sid else None

    @property
    def ready(self) -> list[Member]:
        return [member for member in self._by_peer.values() if member.is_ready]

    def check(self) -> None:
        """Assert what must always hold."""
        for peer, member in self._by_peer.items():
            assert member.peer == peer
            assert not member.leases or member.is_ready
        sids = [member.sid for member in self._by_peer.values()]
        assert len(sids) == len(set(sids))
