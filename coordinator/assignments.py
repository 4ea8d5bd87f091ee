"""Who computes what in the open step: leases, their ends, second copies, and what was lost.

Branches are handed out on pull. A lease ends by its answer, or with its holder; one that takes long
is not taken away, but hedged: an idle worker gets a copy, and the first answer counts.

Source: Dean and Barroso 2013, "The Tail at Scale", on hedged requests.
"""

from collections.abc import Container, Sequence
from statistics import median

from coordinator.audits import Audits, Dispute
from coordinator.effects import Effect, Recompute, Send, Tell
from coordinator.facts import BranchHedged
from coordinator.leases import BranchSum, Lease
from coordinator.members import Member, Members
from coordinator.outbox import Outbox
from coordinator.timeline import Timeline
from coordinator.training import Point, Training
from engine.tree import Branch

LEASES_MAX = 2  # one computing, one queued, so that a worker never waits for a round trip
BRANCHES_PER_WORKER = 4  # so that uneven workers balance, if it pays:
BRANCH_S = 0.005  # a branch costs a message and an answer, 0.2 ms, so it should take so long
IDLE_S = 0.001  # that a step may wait for its slowest worker, before it is cut more finely
HEDGE_S = 0.05  # a branch is never late before
HEDGE_MEDIANS = 2
DOCUMENTS_NAMED = 8  # of a branch that workers do not survive


class Assignments:
    """The leases of one generation.

    Attributes:
        hedges: second copies so far.
    """

    def __init__(
        self,
        training: Training,
        members: Members,
        audits: Audits,
        outbox: Outbox,
        timeline: Timeline,
        losses_max: int,
    ) -> None:
        """Begin with nothing leased.

        Args:
            losses_max: workers lost while computing one branch, before the run stops.
        """
        self._training = training
        self._members = members
        self._audits = audits
        self._out = outbox
        self._timeline = timeline
        self._losses_max = losses_max
        self._next_lease = 1
        self._usual_s: float | None = None  # of a branch in the step before, from lease to answer
        self.hedges = 0
        self._reset()

    def _reset(self) -> None:
        self._durations: list[float] = []
        self._losses: dict[Branch, list[str]] = {}

    def open_step(self) -> None:
        """Begin with the branches of a new step."""
        self._usual_s = self._median_s
        self._reset()
        self._audits.open_step(self._training.step)

    def drop_all(self) -> list[Effect]:
        """End every lease, and have each holder drop its work."""
        effects: list[Effect] = []
        for member in self._members:
            effects += [self._out.cancel(member, lease) for lease in member.leases]
            self.free(member)
        self._reset()
        return effects

    # ---- handing out ------------------------------------------------------------------------

    def grant(self, now: float) -> list[Effect]:
        """Hand waiting branches out: to each ready member one, then to each a second."""
        board = self._training.board
        if not board.is_waiting:
            return []
        ready = self._members.ready
        if self._training.is_finished or not ready:
            return []
        if board.is_untouched:
            self._training.cut(self._branches_per_worker(ready) * len(ready))
        effects: list[Effect] = []
        awake = [m for m in ready if m.is_awake(now) and not m.is_suspect] or ready
        for held in range(LEASES_MAX):
            for member in awake:
                if len(member.leases) == held:
                    effects += self._lease(member, now)
        return effects + self._recompute_what_nobody_else_can()

    def _branches_per_worker(self, ready: Sequence[Member]) -> int:
        """Say how finely to cut a step: no bits depend on it, only how long everybody waits.

        Small branches balance workers of unlike pace, and cost messages. With one each, the step
        waits for the slowest; what that would cost, the members' own rates say.
        """
        rates = [member.rate.documents_per_s for member in ready]
        if not all(rates):
            return BRANCHES_PER_WORKER  # nothing is known of one of them
        documents = self._training.count_documents((0, self._training.shards))
        together = 0.0
        for rate in rates:
            together += rate
        share_s, even_s = documents / together, documents / len(rates) / min(rates)
        wanted = 1 + int(share_s / BRANCH_S) + int((even_s - share_s) / IDLE_S)
        return min(BRANCHES_PER_WORKER, wanted)

    def hedge(self, now: float) -> list[Effect]:
        """Give copies of what is late to members that have nothing to do."""
        late_s = self._late_s
        if late_s is None or self._training.board.is_complete:
            return []
        effects: list[Effect] = []
        for member in self._members.ready:
            if not member.leases and member.is_awake(now):
                effects += self._hedge(member, now, late_s)
        return effects

    def _lease(self, member: Member, now: float) -> list[Effect]:
        board = self._training.board
        lease = board.lease(self._next_lease, member.name, now, self._avoided(member))
        if lease is None:
            return []
        if self._audits.is_audited(lease.branch) and self._audits.kept(lease.branch) is None:
            board.want(lease.branch, 2)
        return [self._give(member, lease, now)]

    def _hedge(self, member: Member, now: float, late_s: float) -> list[Effect]:
        board = self._training.board
        lease = board.hedge(self._next_lease, member.name, now, late_s, self._avoided(member))
        if lease is None:
            return []
        first = board.leases_of(lease.branch)[0]
        for other in self._members:
            other.is_suspect = other.is_suspect or other.name == first.holder
        member.hedges += 1
        self.hedges += 1
        step, seconds = self._training.step + 1, now - first.since_s
        fact = BranchHedged(member.name, step, *lease.branch, seconds, self.hedges)
        return [Tell(fact), self._give(member, lease, now)]

    def _give(self, member: Member, lease: Lease, now: float) -> Effect:
        self._next_lease += 1
        if not member.leases:
            member.progressed_s = now
        member.leases.append(lease.id)
        task = self._out.task(member, lease, self._training)
        payload_bytes = len(task.payload) + len(task.params)
        self._timeline.lease(lease.id, member.name, lease.branch, payload_bytes)
        return Send(member.peer, task)

    def _avoided(self, member: Member) -> Container[Branch]:
        """What others should compute: its answer was no number, or wants another's beside it."""
        training = self._training
        failed = training.failed_by(member.name)
        if failed:
            others = [training.failed_by(other.name) for other in self._members.ready]
            failed = [b for b in failed if not all(b in other for other in others)]
        return failed + self._audits.answered_by(member.name)

    # ---- ends of leases ---------------------------------------------------------------------

    def answer(self, member: Member, lease_id: int, now: float) -> bool:
        """End the lease that an answer belongs to; say whether the member held it."""
        if lease_id not in member.leases:
            return False
        lease = self._training.board.lease_of(lease_id)
        assert lease is not None
        self._durations.append(now - lease.since_s)
        self._end(member, lease_id)
        member.progressed_s = now
        return True

    def free(self, member: Member) -> int:
        """End every lease of a member, and give how many branches that freed."""
        freed = [self._give_up(member, lease) for lease in list(member.leases)]
        return freed.count(True)

    def count(self, branch: Branch, branch_sum: BranchSum, by: str) -> list[Effect]:
        """Fill a slot; copies that are still out are not wanted any more."""
        copies = [lease.id for lease in self._training.board.count(branch, branch_sum, by)]
        if not copies:
            return []
        effects: list[Effect] = []
        for member in self._members:
            for lease in [lease for lease in member.leases if lease in copies]:
                self._give_up(member, lease)
                effects.append(self._out.cancel(member, lease))
        return effects

    def _give_up(self, member: Member, lease_id: int) -> bool:
        """End a lease that was not answered."""
        self._timeline.drop(lease_id)
        return self._end(member, lease_id)

    def _end(self, member: Member, lease_id: int) -> bool:
        member.leases.remove(lease_id)
        return self._training.board.release(lease_id)

    # ---- losses -----------------------------------------------------------------------------

    def note_death(self, member: Member) -> str | None:
        """Remember what a member was computing when it was lost.

        Returns:
            Why the run should stop, if too many were computing that branch.
        """
        lease = self._training.board.lease_of(member.leases[0]) if member.leases else None
        if lease is None or not member.is_awake(lease.since_s):  # it was gone before it began
            return None
        names = self._losses.setdefault(lease.branch, [])
        if member.name not in names:
            names.append(member.name)
        if len(names) < self._losses_max:
            return None
        texts = self._training.texts(lease.branch)
        more = f" and {len(texts) - DOCUMENTS_NAMED} more" if len(texts) > DOCUMENTS_NAMED else ""
        return (
            f"expected branch {lease.branch} of step {self._training.step + 1} to be computed, got"
            f" {len(names)} workers lost over it: {', '.join(names)} — its documents are"
            f" {', '.join(map(repr, texts[:DOCUMENTS_NAMED]))}{more}; see the workers' logs, then"
            " go on with --resume"
        )

    def forgive(self, name: str) -> None:
        """A worker that comes back was not killed by what it computed."""
        for names in self._losses.values():
            if name in names:
                names.remove(name)

    # ---- disputes ---------------------------------------------------------------------------

    def _recompute_what_nobody_else_can(self) -> list[Effect]:
        """Audit those branches ourselves for which there is no second worker."""
        training, effects = self._training, list[Effect]()
        for branch in training.board.waiting:
            kept = self._audits.kept(branch)
            if kept is None or any(self._can_answer(m, branch) for m in self._members.ready):
                continue
            training.board.want(branch, 0)
            effects.append(
                self.recompute(self._audits.dispute(training.step, branch, kept), training.point)
            )
        return effects

    def _can_answer(self, member: Member, branch: Branch) -> bool:
        return branch not in self._avoided(member)

    def recompute(self, dispute: Dispute, point: Point) -> Effect:
        documents = self._training.documents(point, dispute.branch)
        return Recompute(dispute.id, dispute.branch, point.params, documents)

    # ---- stragglers -------------------------------------------------------------------------

    @property
    def _median_s(self) -> float | None:
        return median(self._durations) if self._durations else self._usual_s

    @property
    def _late_s(self) -> float | None:
        """After how long a branch is late; None before anything is known."""
        usual_s = self._median_s
        return None if usual_s is None else max(HEDGE_S, HEDGE_MEDIANS * usual_s)
