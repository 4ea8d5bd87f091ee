"""Sessions: one worker's stay in one generation, from HELLO to whatever ends it.

A member goes through two phases: welcomed (HELLO was answered) and ready (it said READY, its config
and its arithmetic are ours, and it gets work).
"""

import random

from coordinator import events, facts
from coordinator.admissions import REASONS, Admissions, printable
from coordinator.assignments import Assignments
from coordinator.effects import Effect, Tell
from coordinator.members import Member, Members
from coordinator.outbox import Outbox
from coordinator.phases import Phases
from wire import messages
from wire.messages import STOPPING

STALL_S = 1.0  # between two ticks: it was we who were held up


class Sessions:
    """Begins and ends sessions; whatever an end frees is handed out again."""

    def __init__(
        self,
        members: Members,
        admissions: Admissions,
        assignments: Assignments,
        phases: Phases,
        out: Outbox,
        heartbeat_s: float,
        rng: random.Random,
    ) -> None:
        """Begin with nobody.

        Args:
            rng: draws session ids.
        """
        self._members = members
        self._admissions = admissions
        self._assignments = assignments
        self._phases = phases
        self._out = out
        self._heartbeat_s = heartbeat_s
        self._rng = rng
        self._ticked_s = 0.0

    def start(self, now: float) -> None:
        """Count the time to the first tick from now."""
        self._ticked_s = now

    def greet(self, peer: events.Peer, hello: messages.Hello, now: float) -> list[Effect]:
        """Answer HELLO."""
        member = Member(
            peer=peer,
            sid=self._rng.getrandbits(62),
            name=printable(hello.name),
            host=printable(hello.host),
            pid=hello.pid,
            last_heard_s=now,
            pinged_s=now,
        )
        effects: list[Effect] = []
        for other in self._members:
            if other.peer == peer or other.name == member.name:  # a process has one session
                effects += self.lose(other, "it began anew", now)
        if member.name in self._admissions.quarantined:
            return effects + self._admissions.refuse_quarantined(member)
        self._assignments.forgive(member.name)
        self._members.add(member)
        return [*effects, self._out.welcome(member)]

    def probed(self, fingerprint: str, now: float) -> list[Effect]:
        """Know our own fingerprint, and look at those that were ready before it was there."""
        self._admissions.fingerprint = fingerprint
        effects: list[Effect] = []
        for member in self._members:
            if member.early_ready is not None:
                effects += self.admit(member, member.early_ready, now)
        return effects

    def admit(self, member: Member, ready: messages.Ready, now: float) -> list[Effect]:
        """Answer READY with work, or with what keeps the worker from contributing."""
        if self._admissions.fingerprint is None:
            member.early_ready = ready
            return []
        if objection := self._admissions.objection(ready):
            return self.expel(member, *objection, now)
        progressed_s = member.progressed_s if member.leases else now
        self._assignments.free(member)
        member.params_digest = ready.params_digest
        member.note_pace(ready.document_s)
        effects: list[Effect] = []
        if not member.is_ready:
            self._members.make_ready(member, now)
            world_size = len(self._members.ready)
            effects = [Tell(facts.MemberJoined(member.name, member.host, member.pid, world_size))]
        effects += self.grant(now)
        member.progressed_s = progressed_s  # to begin anew is no progress
        return effects

    def grant(self, now: float) -> list[Effect]:
        """Hand out what waits."""
        return self._assignments.grant(now) if self._phases.is_training else []

    def tick(self, now: float) -> list[Effect]:
        """Ping, give up who is overdue, and hedge what is late."""
        stalled_s, self._ticked_s = now - self._ticked_s, now
        effects: list[Effect] = []
        for member in self._members:
            if stalled_s > STALL_S:
                member.excuse(stalled_s, now)
            # Later nobody is listened to, so nobody can be called silent.
            reason = member.overdue(now) if self._phases.is_training else ""
            if reason:
                effects += self.lose(member, reason, now, is_death=True)
                effects.append(self._out.who(member.peer, member.sid))  # perhaps it hears us
            elif now - member.pinged_s >= self._heartbeat_s:
                member.pinged_s = now
                effects.append(self._out.ping(member, now))
        return effects + (self._assignments.hedge(now) if self._phases.is_training else [])

    def depart(self, peer: events.Peer, now: float) -> list[Effect]:
        """End the session whose connection has ended."""
        member = self._members.of_peer(peer)
        if member is None:
            return []
        return self.lose(member, "its connection ended", now, is_death=True)

    def lose(self, member: Member, reason: str, now: float, is_death: bool = False) -> list[Effect]:
        """End a session; `is_death` if what it was computing may have been the cause."""
        failure = self._assignments.note_death(member) if is_death else None
        freed = self._assignments.free(member)
        self._members.remove(member)
        if not member.is_ready:
            return []
        world_size = len(self._members.ready)
        effects: list[Effect] = [Tell(facts.MemberLost(member.name, reason, freed, world_size))]
        if failure is not None:
            effects += self._phases.leave(STOPPING, failure, now)
        return effects + self.grant(now)

    def start_over(self, peer: events.Peer, now: float) -> list[Effect]:
        """End a session in which something was lost on the way; its worker says HELLO again."""
        member = self._members.of_peer(peer)
        if member is None or not self._phases.is_training:
            return []
        who = self._out.who(peer, member.sid)
        return [*self.lose(member, "a message of its was damaged", now), who]

    def expel(self, member: Member, code: str, text: str, now: float) -> list[Effect]:
        """End a session for good: not even late answers of it are heard."""
        lost = self.lose(member, REASONS[code], now)
        self._members.forget(member.sid)
        return lost + self._admissions.refuse(member.peer, member.name, code, text)

    def shut_out(self, peer: events.Peer, key_name: str, now: float) -> list[Effect]:
        """End the session of a peer whose key was revoked."""
        code, text = self._admissions.shut_out(key_name)
        member = self._members.of_peer(peer)
        if member is None:
            return self._admissions.refuse(peer, f"a peer with key {key_name!r}", code, text)
        return self.expel(member, code, text, now)

    def quarantine(self, name: str, step: int, now: float) -> list[Effect]:
        """Keep a worker that has lied out for good."""
        code, text = self._admissions.quarantine(name, step)
        effects: list[Effect] = []
        for member in self._members:
            if member.name == name:
                effects += self.expel(member, code, text, now)
        return effects
