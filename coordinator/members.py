"""The workers of this generation, as the coordinator knows them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coordinator.events import Peer
from coordinator.facts import MemberSeen
from coordinator.rate import Rate
from coordinator.status import PREPARING, READY, MemberStatus
from engine.tree import Branch
from wire.messages import Ready

SILENCE_S = 3.0  # three heartbeats, as in zguide's Paranoid Pirate
SILENCE_DOCUMENTS = 10  # a worker is silent while it computes a document
PREPARE_S = 120.0  # from WELCOME to READY: time to import, build and probe the engine
AWAKE_S = 2.0  # two heartbeats: whoever was heard within it is given work before others
PROGRESS_S = 30.0  # without a document or an answer, though it holds a lease
PROGRESS_DOCUMENTS = 20
NAMES_KEPT = 1000  # of sessions whose late answers are still heard
DOCUMENT_S_MAX = 60.0  # that a worker is believed; its silence may last ten times as long


@dataclass(slots=True)
class Member:
    """One session of one worker.

    Attributes:
        progressed_s: when it last showed that it computes, or was given something to.
        ready_s: when it said READY; before that, None, it gets no work.
        early_ready: READY, said before our own fingerprint was there to compare it with.
        params_digest: the parameters it holds, empty for none.
        document_s: the longest it has been seen, or has said, to take for one document, or for
            whatever more it does without looking at its socket.
        leases: ids of the leases it holds, oldest first; the first is what it computes.
        is_suspect: another computes what it holds, and it has said nothing since.
        branches_done, documents_done: answered in time in this session.
        hedges: branches that it was given as a second copy.
        waited_for: steps whose last answer was its own.
        rate: of its own computing.
    """

    peer: Peer
    sid: int
    name: str
    host: str
    pid: int
    last_heard_s: float
    pinged_s: float
    progressed_s: float = 0.0
    ready_s: float | None = None
    early_ready: Ready | None = None
    params_digest: str = ""
    document_s: float = 0.0
    leases: list[int] = field(default_factory=list)
    is_suspect: bool = False
    branches_done: int = 0
    documents_done: int = 0
    hedges: int = 0
    waited_for: int = 0
    rate: Rate = field(default_factory=Rate)

    def hear(self, now: float) -> None:
        """Take note of a sign of life."""
        self.last_heard_s = now
        self.is_suspect = False

    def note_answer(self, documents: int, compute_s: float) -> None:
        """Take note of an answer that may count."""
        self.branches_done += 1
        self.documents_done += documents
        self.rate.add(documents, min(max(0.0, compute_s), DOCUMENT_S_MAX * documents))
        self.note_pace(compute_s / documents)

    def note_pace(self, document_s: float) -> None:
        """Believe that it may take so long for a document, within reason."""
        self.document_s = max(self.document_s, min(document_s, DOCUMENT_S_MAX))

    def status(self, rank: int | None, leases: Sequence[Branch], now: float) -> MemberStatus:
        return MemberStatus(
            rank=rank,
            name=self.name,
            host=self.host,
            pid=self.pid,
            phase=READY if self.is_ready else PREPARING,
            branches_done=self.branches_done,
            documents_done=self.documents_done,
            documents_per_s=self.rate.documents_per_s,
            heard_s=now - self.last_heard_s,
            leases=tuple(leases),
            hedges=self.hedges,
            waited_for=self.waited_for,
            document_s=self.document_s,
        )

    def seen(self, now: float) -> MemberSeen:
        """Say how it does, for people."""
        if not self.is_awake(now):
            state = f"silent for {now - self.last_heard_s:.0f} s"
        elif not self.is_ready:
            state = "preparing"
        else:
            state = "computing" if self.leases else "waiting"
        return MemberSeen(self.name, state, self.rate.documents_per_s, self.waited_for)

    @property
    def is_ready(self) -> bool:
        return self.ready_s is not None

    @property
    def silence_limit_s(self) -> float:
        if not self.is_ready:
            return PREPARE_S
        return max(SILENCE_S, SILENCE_DOCUMENTS * self.document_s)

    @property
    def progress_limit_s(self) -> float:
        return max(PROGRESS_S, PROGRESS_DOCUMENTS * self.document_s)

    def excuse(self, seconds: float, now: float) -> None:
        """Judge nobody by a time in which nobody was listened to."""
        self.last_heard_s = min(now, self.last_heard_s + seconds)
        self.progressed_s = min(now, self.progressed_s + seconds)

    def is_awake(self, at_s: float) -> bool:
        """Say whether it seemed to live at some moment, as far as is known by now."""
        return at_s - self.last_heard_s <= max(AWAKE_S, 2 * self.document_s)

    def overdue(self, now: float) -> str:
        """Say why a member should be given up; empty if there is nothing to say."""
        if now - self.last_heard_s > self.silence_limit_s:
            return "it fell silent"
        if self.leases and now - self.progressed_s > self.progress_limit_s:
            return "it makes no progress"
        return ""


class Members:
    """Members by peer, in the order of their names, in which they are served.

    With one order for all steps a local coordinator can share the core of the last (see cli.cores).

    Attributes:
        version: how often somebody has become ready for work or was lost; for people.
        lost: how many were.
    """

    def __init__(self) -> None:
        self._by_peer: dict[Peer, Member] = {}
        self._names: dict[int, str] = {}  # of the last sessions that were ready
        self.version = 0
        self.lost = 0

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._by_peer.values()))

    def add(self, member: Member) -> None:
        assert member.peer not in self._by_peer
        members = sorted([*self._by_peer.values(), member], key=lambda one: _natural(one.name))
        self._by_peer = {one.peer: one for one in members}

    def remove(self, member: Member) -> None:
        del self._by_peer[member.peer]
        if member.is_ready:
            self.version += 1
            self.lost += 1

    def make_ready(self, member: Member, now: float) -> None:
        """Count a member in, if it is not yet."""
        if member.ready_s is None:
            member.ready_s = now
            self._names[member.sid] = member.name
            if len(self._names) > NAMES_KEPT:
                del self._names[next(iter(self._names))]
            self.version += 1

    def forget(self, sid: int) -> None:
        """Let nobody speak for a session any more."""
        self._names.pop(sid, None)

    def name_of(self, sid: int) -> str | None:
        """Say whose a session is, or was; None if it never came to work."""
        return self._names.get(sid)

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


def _natural(name: str) -> list[str | int]:
    """Give what names are ordered by: worker-2 comes before worker-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
