"""CoordinatorState: the only place that decides what a coordinator does.

`handle(event, now)` returns effects and does nothing else: no socket, no clock, no file, no chance
but the generator it was given. `now` is seconds of a monotonic clock.

The run goes through three phases, and only through them:

    TRAINING    a step is open        -> LEAVING   when the last step is committed, on StopAsked,
                                                   or when training has diverged
    LEAVING     the last save is due  -> LEFT      when it is durable, has failed, or is not needed
    LEFT        BYE and Finish are out; every further event is ignored

A member goes through two: welcomed (HELLO was answered) and ready (it said READY, and gets work).
"""

import random
from enum import Enum, auto

from coordinator import events, facts
from coordinator.effects import Effect, Finish, Save, Send, Tell
from coordinator.evaluations import Evaluations
from coordinator.members import Member, Members
from coordinator.outbox import Outbox
from coordinator.saves import Saves
from coordinator.settings import Settings
from coordinator.training import Training
from engine.config import WorkConfig
from wire import messages
from wire.messages import (
    CONFIG,
    DONE,
    DUPLICATE,
    GRADIENT,
    MISMATCH,
    NONFINITE,
    STALE,
    STOPPING,
    VERSION,
)

LEASES_MAX = 2  # one computing, one queued, so that a worker never waits for a round trip
DOCUMENT_S_MAX = 60.0  # that a worker is believed; its silence may last ten times as long
BRANCHES_PER_WORKER = 4  # so that uneven workers balance
NAME_CHARACTERS_MAX = 64  # of what a peer says of itself, in a log


class Phase(Enum):
    TRAINING = auto()
    LEAVING = auto()
    LEFT = auto()


class CoordinatorState:
    """One generation of one run."""

    def __init__(
        self,
        training: Training,
        work: WorkConfig,
        settings: Settings,
        run: str,
        gen: int,
        durable_step: int,
        rng: random.Random,
        evaluations: Evaluations,
    ) -> None:
        """Begin where `training` stands.

        Args:
            run: the run's id.
            gen: how many times the run's coordinator has started, this time included.
            durable_step: the newest step on disk; -1 if there is none.
            rng: draws session ids.
        """
        self._training = training
        self._work = work
        self._settings = settings
        self._out = Outbox(run, gen)
        self._rng = rng
        self._members = Members()
        self._phase = Phase.TRAINING
        self._leave_reason = STOPPING
        self._failure: str | None = None
        self._saves = Saves(settings.checkpoint_every, durable_step)
        self._evaluations = evaluations
        self._step_opened_s = 0.0
        self._next_lease = 1
        self._dropped = 0

    def handle(self, event: events.Event, now: float) -> list[Effect]:
        """Give what is to be done about an event, in order."""
        if self._phase is Phase.LEFT:
            return []
        match event:
            case events.Received(peer, message):
                return self._on_message(peer, message, now)
            case events.Ticked():
                return self._on_tick(now)
            case events.Departed(peer):
                return self._on_departed(peer, "its connection ended", now)
            case events.Garbled(peer, reason):
                return self._drop(reason) + self._start_over(peer, now)
            case events.StrangerArrived(peer, text):
                return self._refuse(peer, "a stranger", VERSION, text)
            case events.Started():
                return self._on_started(now)
            case events.Saved(step):
                return self._on_saved(step, now)
            case events.SaveFailed(step, reason):
                return self._on_save_failed(step, reason, now)
            case events.Evaluated(step, held_out_loss):
                return self._evaluations.end(step, held_out_loss) + self._leave_if_saved(now)
            case events.StopAsked():
                return self._evaluations.hurry(now) + self._leave(STOPPING, None, now)

    def check(self) -> None:
        """Assert what must hold between any two events."""
        self._members.check()
        self._training.board.check()
        held = [lease for member in self._members for lease in member.leases]
        assert len(held) == len(set(held)), "a lease is held twice"
        assert all(len(member.leases) <= LEASES_MAX for member in self._members)
        assert self._saves.durable_step <= self._training.step
        self._evaluations.check(self._saves.pending_step)

    # ---- the run ----------------------------------------------------------------------------

    def _on_started(self, now: float) -> list[Effect]:
        self._step_opened_s = now
        self._saves.start(now)
        if self._saves.durable_step < self._training.step:
            effects = self._save()
        else:
            effects = self._evaluations.start(self._training.step, self._training.params)
        if self._training.is_finished:
            effects += self._leave(DONE, None, now)
        return effects

    def _commit(self, now: float) -> list[Effect]:
        rate = self._training.learning_rate
        try:
            self._training.commit()
        except OverflowError:
            return self._diverge("Adam's update", now)
        training = self._training
        assert training.loss is not None
        fact = facts.StepCommitted(
            step=training.step,
            loss=training.loss,
            documents=self._work.batch_size,
            seconds=now - self._step_opened_s,
            workers=len(self._members.ready),
            learning_rate=rate,
        )
        self._step_opened_s = now
        effects: list[Effect] = [Tell(fact)]
        if training.is_finished:
            return effects + self._leave(DONE, None, now)
        if self._saves.is_due(training.step, now):
            effects += self._save()
        return effects

    def _diverge(self, what: str, now: float) -> list[Effect]:
        failure = (
            "expected finite numbers, got NaN or infinity"
            f" — step {self._training.step + 1}, {what}; training diverged:"
            " lower --learning-rate; the last good checkpoint is kept"
        )
        return self._leave(STOPPING, failure, now)

    def _leave(self, reason: str, failure: str | None, now: float) -> list[Effect]:
        if self._phase is Phase.TRAINING:
            self._phase = Phase.LEAVING
            self._leave_reason, self._failure = reason, failure
        return self._leave_if_saved(now)

    def _leave_if_saved(self, now: float) -> list[Effect]:
        is_busy = self._saves.pending_step is not None or self._evaluations.is_running
        if self._phase is not Phase.LEAVING or is_busy:
            return []
        if self._saves.durable_step < self._training.step and self._failure is None:
            return self._save()
        self._phase = Phase.LEFT
        durable_step = self._saves.durable_step
        byes = [self._out.bye(m, self._leave_reason, durable_step) for m in self._members]
        return [*byes, Finish(self._failure)]

    # ---- saving -----------------------------------------------------------------------------

    def _save(self) -> list[Effect]:
        training = self._training
        self._saves.begin(training.step)
        save = Save(training.step, training.params, training.moments, training.loss)
        return self._evaluations.save(save)

    def _on_saved(self, step: int, now: float) -> list[Effect]:
        self._saves.succeed(step, now)
        return [Tell(facts.CheckpointDurable(step)), *self._leave_if_saved(now)]

    def _on_save_failed(self, step: int, reason: str, now: float) -> list[Effect]:
        self._saves.fail(step, now)
        if self._phase is Phase.LEAVING and self._failure is None:
            self._failure = f"{reason}; {self._saves.newest}: make room and go on with --resume"
        return [Tell(facts.CheckpointFailed(step, reason)), *self._leave_if_saved(now)]

    # ---- messages ---------------------------------------------------------------------------

    def _on_message(self, peer: events.Peer, message: messages.Message, now: float) -> list[Effect]:
        if self._phase is not Phase.TRAINING:
            return []
        if isinstance(message, messages.Hello):
            return self._on_hello(peer, message, now)
        if not isinstance(message, messages.FromMember):
            return self._drop(f"{type(message).__name__} is not for a coordinator")
        member = self._members.of_session(peer, message.sid)
        if member is None or not self._out.is_ours(message):
            late = self._count_late(message, now) if self._out.is_ours(message) else []
            return [self._out.who(peer, message.sid), *late]
        member.last_heard_s = now
        match message:
            case messages.Ready():
                return self._on_ready(member, message, now)
            case messages.Grad():
                return self._on_grad(member, message, now)
            case messages.Ping():
                return [self._out.pong(member, message.t)]
            case messages.Bye():
                return self._lose(member, "it said goodbye", now)
            case messages.Progress() | messages.Pong():
                return []

    def _on_hello(self, peer: events.Peer, hello: messages.Hello, now: float) -> list[Effect]:
        effects = self._on_departed(peer, "it began anew", now)
        member = Member(
            peer=peer,
            sid=self._rng.getrandbits(62),
            name=_printable(hello.name),
            host=_printable(hello.host),
            pid=hello.pid,
            last_heard_s=now,
            pinged_s=now,
        )
        self._members.add(member)
        return [*effects, self._out.welcome(member, self._work, self._settings.heartbeat_s)]

    def _on_ready(self, member: Member, ready: messages.Ready, now: float) -> list[Effect]:
        if ready.config_hash != self._work.digest:
            text = (
                f"expected config {self._work.digest}, got {_printable(ready.config_hash)}"
                " — ready; run the same version of gradflock everywhere"
            )
            lost = self._lose(member, "it computes something else", now)
            return lost + self._refuse(member.peer, member.name, CONFIG, text)
        self._free(member)
        member.params_digest = ready.params_digest
        member.document_s = max(member.document_s, min(ready.document_s, DOCUMENT_S_MAX))
        effects: list[Effect] = []
        if not member.is_ready:
            member.is_ready = True
            world_size = len(self._members.ready)
            effects = [Tell(facts.MemberJoined(member.name, member.host, member.pid, world_size))]
        return effects + self._grant(now)

    def _on_grad(self, member: Member, grad: messages.Grad, now: float) -> list[Effect]:
        training = self._training
        is_held = grad.lease in member.leases
        status = training.judge(grad)
        if status == MISMATCH:
            return self._expel(member, grad, now)
        if not status:
            document_s = grad.compute_s / training.count_documents((grad.lo, grad.hi))
            member.document_s = max(member.document_s, min(document_s, DOCUMENT_S_MAX))
            self._end_lease(member, grad.lease)
            return self._count(grad, now)
        self._end_lease(member, grad.lease)
        if status == NONFINITE and is_held and training.note_nonfinite(grad, member.name):
            return self._diverge(f"branch ({grad.lo}, {grad.hi})", now)
        return self._not_counted(member, grad, status) + self._grant(now)

    def _count(self, grad: messages.Grad, now: float) -> list[Effect]:
        training, branch = self._training, (grad.lo, grad.hi)
        leases = training.board.count(branch, training.branch_sum(grad))
        effects = self._cancel([lease.id for lease in leases])
        if training.board.is_complete:
            effects += self._commit(now)
        return effects + self._grant(now)

    def _count_late(self, message: messages.Message, now: float) -> list[Effect]:
        """Count the answer to a lost lease: the session is gone, the gradient is still right."""
        if not isinstance(message, messages.Grad) or self._training.judge(message):
            return []
        return self._count(message, now)

    def _expel(self, member: Member, grad: messages.Grad, now: float) -> list[Effect]:
        text = (
            f"expected {len(self._training.params_bytes)} bytes of gradient for a branch of step"
            f" {grad.step + 1}, got {len(grad.payload)} for ({grad.lo}, {grad.hi}) of other"
            f" parameters or another tree — grad of {member.name}; run the same version everywhere"
        )
        lost = self._lose(member, "its gradient does not fit", now)
        return lost + self._refuse(member.peer, member.name, GRADIENT, text)

    def _not_counted(self, member: Member, grad: messages.Grad, status: str) -> list[Effect]:
        effects: list[Effect] = [self._out.result(member, grad, status)]
        if status not in (STALE, DUPLICATE):  # those two are ordinary after a lost lease
            effects.append(Tell(facts.GradNotCounted(member.name, grad.step + 1, status)))
        return effects

    # ---- leases -----------------------------------------------------------------------------

    def _grant(self, now: float) -> list[Effect]:
        """Hand waiting branches out: to each ready member one, then to each a second."""
        training, effects = self._training, list[Effect]()
        if self._phase is not Phase.TRAINING:
            return effects
        if training.board.is_untouched and self._members.ready:
            training.cut(BRANCHES_PER_WORKER * len(self._members.ready))
        for held in range(LEASES_MAX):
            for member in self._members.ready:
                if len(member.leases) == held:
                    effects += self._lease(member)
        return effects

    def _lease(self, member: Member) -> list[Effect]:
        training = self._training
        others = [training.failed_by(other.name) for other in self._members.ready]
        avoid = [b for b in training.failed_by(member.name) if not all(b in o for o in others)]
        lease = training.board.lease(self._next_lease, member.peer, avoid)
        if lease is None:
            return []
        self._next_lease += 1
        member.leases.append(lease.id)
        return [self._out.task(member, lease, training)]

    def _end_lease(self, member: Member, lease: int) -> bool:
        """End a lease of this member, if it is one; say whether that freed a branch."""
        if lease not in member.leases:
            return False
        member.leases.remove(lease)
        return self._training.board.release(lease)

    def _free(self, member: Member) -> int:
        freed = [self._end_lease(member, lease) for lease in list(member.leases)]
        return freed.count(True)

    def _cancel(self, leases: list[int]) -> list[Effect]:
        effects: list[Effect] = []
        for member in self._members:
            for lease in [lease for lease in member.leases if lease in leases]:
                self._end_lease(member, lease)
                effects.append(self._out.cancel(member, lease))
        return effects

    # ---- members ----------------------------------------------------------------------------

    def _on_tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for member in self._members:
            is_silent = now - member.last_heard_s > member.silence_limit_s
            if is_silent and self._phase is Phase.TRAINING:  # later, nobody is listened to
                effects += self._lose(member, "it fell silent", now)
            elif now - member.pinged_s >= self._settings.heartbeat_s:
                member.pinged_s = now
                effects.append(self._out.ping(member, now))
        return effects

    def _on_departed(self, peer: events.Peer, reason: str, now: float) -> list[Effect]:
        member = self._members.of_peer(peer)
        return [] if member is None else self._lose(member, reason, now)

    def _lose(self, member: Member, reason: str, now: float) -> list[Effect]:
        freed = self._free(member)
        self._members.remove(member)
        if not member.is_ready:
            return []
        world_size = len(self._members.ready)
        return [Tell(facts.MemberLost(member.name, reason, freed, world_size)), *self._grant(now)]

    def _start_over(self, peer: events.Peer, now: float) -> list[Effect]:
        """End a session in which something was lost on the way; its worker says HELLO again."""
        member = self._members.of_peer(peer)
        if member is None or self._phase is not Phase.TRAINING:
            return []
        who = self._out.who(peer, member.sid)
        return [*self._lose(member, "a message of its was damaged", now), who]

    def _refuse(self, peer: events.Peer, name: str, code: str, text: str) -> list[Effect]:
        return [
            Send(peer, messages.Refuse(code, text, permanent=True)),
            Tell(facts.PeerRefused(name, text)),
        ]

    def _drop(self, reason: str) -> list[Effect]:
        self._dropped += 1
        return [Tell(facts.MessageDropped(reason, self._dropped))]


def _printable(text: str) -> str:
    """What a peer says of itself, safe to print."""
    return "".join(c if c.isprintable() else "?" for c in text)[:NAME_CHARACTERS_MAX]
