"""CoordinatorState: the only place that decides what a coordinator does.

`handle(event, now)` returns effects and does nothing else: no socket, no clock, no file, no chance
but the generator it was given. `now` is seconds of a monotonic clock.

The run goes through the phases of `coordinator.phases`, its members through those of
`coordinator.sessions`; what they answer, `coordinator.counting` weighs. Here is who is asked when,
and what follows: a commit, or the way back from a lie.
"""

import random
from collections.abc import Callable, Mapping

from coordinator import events, facts
from coordinator.admissions import Admissions
from coordinator.assignments import LEASES_MAX, Assignments
from coordinator.audits import Audits
from coordinator.counting import Counting
from coordinator.effects import Continue, Effect, GoBack, Probe, Tell
from coordinator.evaluations import Evaluations
from coordinator.leases import BranchSum
from coordinator.members import Member, Members
from coordinator.outbox import Outbox
from coordinator.phases import Phase, Phases
from coordinator.picture import Picture
from coordinator.rate import Rate
from coordinator.saves import Saves
from coordinator.sessions import Sessions
from coordinator.settings import Settings
from coordinator.status import ACCEPTED, STRICT, Status
from coordinator.timeline import Timeline
from coordinator.training import Training
from engine.config import WorkConfig
from wire import messages
from wire.messages import DUPLICATE, MISMATCH, NONFINITE, STALE, STOPPING, VERSION
from wire.thinning import Thinning


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
        contributors: Mapping[str, int],
        fingerprint: str,
        clock: Callable[[], float],
    ) -> None:
        """Begin where `training` stands.

        Args:
            run: the run's id.
            gen: how many times the run's coordinator has started, this time included.
            durable_step: the newest step on disk; -1 if there is none.
            rng: draws session ids, and branches to audit.
            contributors: worker -> the first step that it contributed to, of those before.
            fingerprint: of the arithmetic that the run was trained with so far; empty if unknown.
            clock: that `now` is taken from. It tells how long our own work takes, which people see
                and nothing is decided by.
        """
        self._training = training
        self._work = work
        self._settings = settings
        self._out = Outbox(run, gen, work, settings.heartbeat_s)
        self._members = Members()
        # A generator of its own: session ids, which workers see, must not tell what is audited.
        audit_rng = random.Random(rng.getrandbits(64))
        self._audits = Audits(settings.audit, audit_rng, contributors)
        self._clock = clock
        self._timeline = Timeline(clock)
        self._assignments = Assignments(
            *(training, self._members, self._audits, self._out, self._timeline),
            settings.losses_max,
        )
        compares = not settings.accepts_numerics
        self._counting = Counting(training, self._audits, self._assignments, compares)
        self._admissions = Admissions(work, settings.accepts_numerics)
        saves = Saves(settings.checkpoint_every, durable_step, settings.unsaved_max)
        self._phases = Phases(training, self._members, self._audits, self._out, saves, evaluations)
        self._sessions = Sessions(
            *(self._members, self._admissions, self._assignments, self._phases, self._out),
            settings.heartbeat_s,
            rng,
        )
        self._fingerprint = fingerprint
        self._started_s = 0.0
        self._learning_rate = 0.0  # of the last update
        self._rate = Rate()
        self._liar_failure: str | None = None  # with which to leave, once the run has gone back
        self._dropped = self._strangers = 0
        self._stranger_lines = Thinning()

    def handle(self, event: events.Event, now: float) -> list[Effect]:
        """Give what is to be done about an event, in order."""
        if self._phases.phase is Phase.LEFT:
            return []
        match event:
            case events.Received(peer, message):
                return self._on_message(peer, message, now)
            case events.Ticked():
                return self._sessions.tick(now) + self._phases.tick(now)
            case events.Departed(peer):
                return self._sessions.depart(peer, now)
            case events.Garbled(peer, reason):
                return self._drop(reason) + self._sessions.start_over(peer, now)
            case events.StrangerArrived(peer, text):
                return self._admissions.refuse(peer, "a stranger", VERSION, text)
            case events.StrangerLeft(address, wrong):
                return self._on_stranger(address, wrong, now)
            case events.KeyRevoked(peer, key_name):
                return self._sessions.shut_out(peer, key_name, now)
            case events.Started():
                self._started_s = now
                self._timeline.start()
                self._sessions.start(now)
                probe = [] if self._training.is_finished else [Probe()]
                return [*probe, *self._phases.start(now)]
            case events.Continued():
                return self._after_commit(now)
            case events.SaveBegan(seconds):
                self._timeline.save(seconds)
                return []
            case events.Saved(step, seconds):
                return self._phases.on_saved(step, seconds, now)
            case events.SaveFailed(step, reason):
                return self._phases.on_save_failed(step, reason, now)
            case events.Evaluated(step, held_out_loss):
                return self._phases.on_evaluated(step, held_out_loss, now)
            case events.Probed(fingerprint):
                return self._on_probed(fingerprint, now)
            case events.Recomputed(dispute, truth):
                return self._on_recomputed(dispute, truth, now)
            case events.WentBack():
                return self._on_went_back(event, now)
            case events.GoBackFailed(reason):
                return self._phases.on_go_back_failed(reason, now)
            case events.Failed(reason, saves_last):
                return self._phases.leave(STOPPING, reason, now, saves_last)
            case events.StopAsked():
                return self._phases.hurry(now)

    def check(self) -> None:
        """Assert what must hold between any two events."""
        self._members.check()
        self._training.board.check()
        self._phases.check()
        held = [lease for member in self._members for lease in member.leases]
        assert len(held) == len(set(held)), "a lease is held twice"
        assert all(len(member.leases) <= LEASES_MAX for member in self._members)

    def status(self, now: float) -> Status:
        """Say how the run stands, to whoever asks."""
        training, members, board = self._training, self._members, self._training.board
        ranks = {member.sid: rank for rank, member in enumerate(members.ready)}
        return Status(
            run=self._out.run,
            gen=self._out.gen,
            phase=self._phases.phase.name.lower(),
            step=training.step,
            steps=training.steps,
            loss=training.loss,
            documents_per_s=self._rate.documents_per_s,
            durable_step=self._phases.durable_step,
            saving_step=self._phases.saving_step,
            save_trouble=self._phases.save_trouble(now),
            seconds=now - self._started_s,
            world_size=len(ranks),
            membership_version=members.version,
            branches=board.counts,
            hedges=self._assignments.hedges,
            audits=self._audits.count,
            dropped=self._dropped,
            lost=members.lost,
            quarantined=tuple(self._admissions.quarantined),
            refusals=tuple(self._admissions.refusals),
            numerics=ACCEPTED if self._settings.accepts_numerics else STRICT,
            members=tuple(
                member.status(ranks.get(member.sid), board.branches_of(member.leases), now)
                for member in members
            ),
        )

    @property
    def timeline(self) -> Timeline:
        """Where the time of the last steps went."""
        return self._timeline

    def picture(self) -> Picture:
        """Show what a dashboard draws."""
        training = self._training
        return Picture(
            *(self._out.run, self._out.gen, training.shards, self._work.model.num_params),
            *(training.step + 1, training.board.standings, self._timeline.steps),
        )

    def members_seen(self, now: float) -> facts.MembersSeen:
        """Say how the workers do, for people."""
        return facts.MembersSeen(tuple(member.seen(now) for member in self._members))

    def trouble(self, now: float) -> str:
        """Say what keeps the run from being sound, for people; empty if nothing does."""
        return self._phases.save_trouble(now)

    # ---- the run ----------------------------------------------------------------------------

    def _commit(self, now: float) -> list[Effect]:
        training, rate, began_s = self._training, self._training.learning_rate, self._clock()
        total = training.reduce()
        reduced_s = self._clock()
        try:
            training.commit(total)
        except OverflowError:
            if self._audits.disputes:  # it may be a lie that does it
                return []
            return self._diverge("Adam's update", now)
        self._timeline.commit(reduced_s - began_s, self._clock() - reduced_s)
        self._learning_rate = rate
        self._assignments.open_step()
        return [Continue()]

    def _after_commit(self, now: float) -> list[Effect]:
        """Do what no worker waits for: tell of the step, and see what follows from it."""
        training = self._training
        assert training.loss is not None
        trace = self._timeline.trace(
            training.step, training.loss, self._work.batch_size, len(self._members.ready)
        )
        self._rate.add(trace.documents, trace.seconds)
        norms = training.grad_norms() if self._settings.has_grad_norms else {}
        for member in self._members:
            member.waited_for += member.name == trace.last_worker
        training.look_ahead()
        return [Tell(trace.committed(self._learning_rate, norms)), *self._phases.go_on(now)]

    def _diverge(self, what: str, now: float) -> list[Effect]:
        failure = (
            "expected finite numbers, got NaN or infinity"
            f" — step {self._training.step + 1}, {what}; training diverged:"
            " lower --learning-rate; the last good checkpoint is kept"
        )
        return self._phases.leave(STOPPING, failure, now, saves_last=False)

    def _on_probed(self, fingerprint: str, now: float) -> list[Effect]:
        """Go on with the arithmetic that the run was trained with, or not at all."""
        self._phases.fingerprint = fingerprint
        if self._fingerprint in ("", fingerprint) or self._settings.accepts_numerics:
            return self._sessions.probed(fingerprint, now)
        failure = (
            "expected the arithmetic that the run was trained with (fingerprint"
            f" {self._fingerprint[:12]}), got {fingerprint[:12]} — this machine rounds otherwise;"
            " resume where it was trained, or add --accept-numerics and give up equal bits"
        )
        self._phases.give_up()  # this machine's held-out loss is not the run's
        return self._phases.leave(STOPPING, failure, now, saves_last=False)

    # ---- messages ---------------------------------------------------------------------------

    def _on_message(self, peer: events.Peer, message: messages.Message, now: float) -> list[Effect]:
        if not self._phases.is_open:
            return []
        if isinstance(message, messages.Hello):
            return self._sessions.greet(peer, message, now)
        if not isinstance(message, messages.FromMember):
            return self._drop(f"{type(message).__name__} is not for a coordinator")
        member = self._members.of_session(peer, message.sid)
        if member is None or not self._out.is_ours(message):
            is_counted = self._out.is_ours(message) and self._phases.is_training
            late = self._on_late(message, now) if is_counted else []
            return [self._out.who(peer, message.sid), *late]
        member.hear(now)
        match message:
            case messages.Ready():
                return self._sessions.admit(member, message, now)
            case messages.Grad() if not member.is_ready:
                return self._drop("a gradient of a worker that was not admitted")
            case messages.Grad():  # while the run goes back, every answer is of what is undone
                return self._on_grad(member, message, now) if self._phases.is_training else []
            case messages.Ping():
                return [self._out.pong(member, message.t)]
            case messages.Progress():
                member.progressed_s = now
                return []
            case messages.Bye():
                return self._sessions.lose(member, "it said goodbye", now)
            case messages.Pong():
                return []

    # ---- answers ----------------------------------------------------------------------------

    def _on_grad(self, member: Member, grad: messages.Grad, now: float) -> list[Effect]:
        training, branch = self._training, (grad.lo, grad.hi)
        is_held = self._assignments.answer(member, grad.lease, now)
        if is_held:
            times = grad.queued_s, grad.compute_s
            self._timeline.answer(grad.lease, now, *times, len(grad.payload))
        status = training.judge(grad)
        if status == MISMATCH and not is_held:
            status = STALE  # of a time before the run went back
        if status == MISMATCH:
            return self._sessions.expel(member, *self._admissions.misfit(member, grad), now)
        if not status:
            member.note_answer(training.count_documents(branch), grad.compute_s)
            return self._weigh(member.name, grad, now)
        effects: list[Effect] = [self._out.result(member, grad, status)]
        if status == NONFINITE and is_held and training.note_nonfinite(grad, member.name):
            effects += self._counting.doubt(branch)
        if status not in (STALE, DUPLICATE):  # those two are ordinary after a lost lease
            effects.append(Tell(facts.GradNotCounted(member.name, grad.step + 1, status)))
        return effects + self._counting.compare(member.name, grad) + self._sessions.grant(now)

    def _on_late(self, message: messages.FromMember, now: float) -> list[Effect]:
        """Take the answer of a session that is gone: the gradient is none the worse for it."""
        name = self._members.name_of(message.sid)
        is_welcome = name is not None and name not in self._admissions.quarantined
        if not is_welcome or not isinstance(message, messages.Grad):
            return []
        assert name is not None
        if not self._training.judge(message):
            return self._weigh(name, message, now)
        return self._counting.compare(name, message)

    def _weigh(self, name: str, grad: messages.Grad, now: float) -> list[Effect]:
        effects = self._counting.weigh(name, grad)
        told = self._commit_if_complete(now)
        return effects + self._sessions.grant(now) + told  # first what workers wait for

    def _commit_if_complete(self, now: float) -> list[Effect]:
        return self._commit(now) if self._training.board.is_complete else []

    # ---- disputes ---------------------------------------------------------------------------

    def _on_recomputed(self, dispute_id: int, truth: BranchSum, now: float) -> list[Effect]:
        dispute, liars = self._audits.settle(dispute_id, truth)
        if dispute is None or not self._phases.is_training:
            return []
        if not truth.is_finite:
            return self._diverge(f"branch {dispute.branch}", now)
        if not liars:
            effects = self._counting.settle(dispute, truth) + self._commit_if_complete(now)
            return effects + self._go_on(now)
        firsts = [self._audits.contributors.get(name) for name in liars]
        first = min((first for first in firsts if first is not None), default=None)
        effects = []
        for name in liars:
            if name not in self._admissions.quarantined:  # by an answer looked into before
                effects.append(Tell(facts.LiarFound(name, dispute.step + 1, *dispute.branch)))
            effects += self._sessions.quarantine(name, dispute.step, now)
        if self._settings.stops_on_liar:
            self._liar_failure = (
                f"expected honest workers, got other bits from {', '.join(liars)} — step"
                f" {dispute.step + 1}, branch {dispute.branch}; check that machine, then --resume"
            )
        if first is not None and first < self._training.step:
            self._phases.begin_going_back()
            return [*effects, *self._assignments.drop_all(), GoBack(first)]
        if first is not None:  # the open step alone is spoilt
            effects += self._assignments.drop_all()
            self._training.reopen()
            self._audits.go_back(first)
        elif self._liar_failure is None:
            effects += self._counting.settle(dispute, truth) + self._commit_if_complete(now)
        return effects + self._go_on(now)

    def _on_went_back(self, back: events.WentBack, now: float) -> list[Effect]:
        training = self._training
        fact = facts.RunWentBack(training.step, back.step)
        effects: list[Effect] = [
            Tell(facts.CheckpointPassedOver(complaint)) for complaint in back.complaints
        ]
        training.go_to(back.step, back.params, back.moments, back.loss)
        self._audits.go_back(back.step)
        self._timeline.forget()
        effects += [Tell(fact), *self._phases.go_back(back.durable_step, now)]
        return effects + (self._go_on(now) if self._phases.is_training else [])

    def _go_on(self, now: float) -> list[Effect]:
        if self._liar_failure is not None:
            return self._phases.leave(STOPPING, self._liar_failure, now)
        return self._phases.go_on(now) + self._sessions.grant(now)

    def _on_stranger(self, address: str, wrong: str, now: float) -> list[Effect]:
        self._strangers += 1
        if not self._stranger_lines.has_line(now):
            return []
        return [Tell(facts.ConnectionRefused(address, wrong, self._strangers))]

    def _drop(self, reason: str) -> list[Effect]:
        self._dropped += 1
        return [Tell(facts.MessageDropped(reason, self._dropped))]
