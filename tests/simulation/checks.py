"""What must hold after every event of a coordinator, whatever happens around it.

These rules know the protocol and the truth, and look into the production state; they decide
nothing. A rule is named by the promise that it keeps.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator import events
from coordinator.effects import Effect, GoBack, Save, Send, Tell
from coordinator.facts import LiarFound
from coordinator.leases import Board
from coordinator.members import SILENCE_DOCUMENTS, SILENCE_S
from coordinator.state import CoordinatorState
from engine.shards import branch_documents
from engine.tree import Branch
from tests.simulation.arithmetic import SHARDS, Oracle
from tests.simulation.broken import Broken
from tests.simulation.disk import Disk
from tests.simulation.durability import Durability
from tests.simulation.plan import CONTRIBUTORS, Kind, Plan
from wire import messages
from wire.messages import Grad, Refuse, Task, Welcome, Who
from worker.effects import Exit

LEASES_MAX = 2
COPIES_MAX = 2
LOST_OVER_IT = "workers lost over it"  # what a run says that stops because of a document
HELD_UP_S = 1.0  # between two ticks: the coordinator itself did not listen


class Known(Protocol):
    """The process behind a peer."""

    name: str
    kind: Kind


class Checks:
    """The rules of one world, over all generations of its coordinator.

    Attributes:
        durability: the rules of what is saved.
        counted_lies: in what the run stands on now: (step, name of the liar).
        told: how many facts of each kind were told.
        exits: of workers that have left by themselves, and what they said.
    """

    def __init__(self, oracle: Oracle, owners: Mapping[bytes, Known], plan: Plan) -> None:
        self._oracle = oracle
        self._owners = owners
        self._is_all_audited = plan.audit == 1.0
        self._deadly_step = plan.deadly_step
        self.durability = Durability(oracle, plan)
        self._nan_branches: set[tuple[int, int, int]] = set()
        self._lies: dict[bytes, str] = {}
        self.counted_lies: list[tuple[int, str]] = []
        self.told: Counter[str] = Counter()
        self.exits: list[tuple[Kind, str | None]] = []
        self._state: CoordinatorState
        self._disk: Disk

    def begin(
        self, state: CoordinatorState, run: str, disk: Disk, now: float, rounds_otherwise: bool
    ) -> None:
        """Take up a new generation."""
        self._state, self._run, self._disk = state, run, disk
        self._gen = disk.generation
        self._sessions: dict[bytes, int] = {}
        self._heard_s: dict[bytes, float] = {}
        self._ticked_s = now
        self._found: set[str] = set()
        self._note()
        self._stand_at(self._step)
        self.durability.begin(state, disk, now, rounds_otherwise)
        self._check_truth()

    # ---- around every event ------------------------------------------------------------------

    def before(self, event: events.Event) -> None:
        self._note()

    def after(self, event: events.Event, effects: Sequence[Effect], now: float) -> None:
        self._state.check()
        if isinstance(event, events.Received):
            self._check_sessions(event, effects)
            if self._speaks_in_session(event):
                self._heard_s[event.peer] = now
        self._check_steps(event, effects)
        self._check_truth()
        self._check_leases()
        self.durability.after(event, effects, now)
        for effect in effects:
            self._check_effect(effect, now)
            if isinstance(effect, Tell):
                self.told[type(effect.fact).__name__] += 1
        if self._is_training and not any(isinstance(effect, GoBack) for effect in effects):
            left = [name for _, name in self.counted_lies if name in self._found]
            self._expect(not left, "nothing of a liar is left once it is found", left)
        if isinstance(event, events.Ticked):
            self._check_silence(now)
            self._check_status(now)

    def _note(self) -> None:
        training = self._state._training
        self._step = training.step
        self._board: Board = training.board
        self._sums = dict(training.board._sums)
        self._audited = tuple(b for b, chosen in self._state._audits._audited.items() if chosen)

    def _expect(self, holds: bool, promise: str, detail: object = "") -> None:
        if not holds:
            raise Broken(promise, self._state._training.step, detail)

    @property
    def _is_training(self) -> bool:
        return self._state._phases.is_training

    # ---- counting ----------------------------------------------------------------------------

    def _check_steps(self, event: events.Event, effects: Sequence[Effect]) -> None:
        """Every branch counts once, by an answer that came in this very event."""
        training, board = self._state._training, self._state._training.board
        if isinstance(event, events.WentBack):
            self._expect(training.step == event.step, "a run goes back to what is left")
            self._expect(not board._sums, "a step begins with nothing counted")
            self._stand_at(training.step)
        elif training.step != self._step:
            self._expect(training.step == self._step + 1, "steps come one by one")
            missing = [branch for branch in self._board._branches if branch not in self._sums]
            self._expect(len(missing) == 1, "a step ends with its last branch", missing)
            self._expect(not board._sums, "a step begins with nothing counted")
            self._check_documents([*self._sums, *missing])
            self._check_counted(event, missing[0], self._board)
        elif board is not self._board:
            is_spoilt = isinstance(event, events.Recomputed) and bool(self._found_with(effects))
            self._expect(is_spoilt or not self._sums, "what is counted stays counted")
            self._expect(not board._sums, "a step begins with nothing counted")
            self._stand_at(training.step)
        else:
            for branch, branch_sum in self._sums.items():
                is_same = board._sums.get(branch) is branch_sum
                self._expect(is_same, "what is counted is not counted again", branch)
            counted = [branch for branch in board._sums if branch not in self._sums]
            self._expect(len(counted) <= 1, "one answer counts for one branch", counted)
            for branch in counted:
                self._check_counted(event, branch, board)

    def _found_with(self, effects: Sequence[Effect]) -> set[str]:
        """Give every liar that is known once these effects are."""
        facts = [effect.fact for effect in effects if isinstance(effect, Tell)]
        return self._found | {fact.name for fact in facts if isinstance(fact, LiarFound)}

    def _stand_at(self, step: int) -> None:
        """Forget the lies that are undone: step 0's are in the parameters from step 1 on."""
        self.counted_lies = [lie for lie in self.counted_lies if lie[0] < step]

    def _check_documents(self, branches: Sequence[Branch]) -> None:
        size = self._oracle.run.train.batch_size
        places: Counter[int] = Counter()
        for branch in branches:
            places.update(branch_documents(range(size), *branch, SHARDS))  # type: ignore[arg-type]
        self._expect(max(places.values()) == 1, "no document counted twice", branches)
        self._expect(len(places) == size, "every document counted", branches)

    def _check_counted(self, event: events.Event, branch: Branch, board: Board) -> None:
        payload = board._sums[branch].grad.tobytes()
        if payload in self._lies:
            is_audited = branch in self._audited or self._is_all_audited
            self._expect(not is_audited, "no lie about an audited branch counts", branch)
            self.counted_lies.append((self._step, self._lies[payload]))
        if isinstance(event, events.Recomputed):
            return
        if not isinstance(event, events.Received) or not isinstance(event.message, Grad):
            raise Broken("only an answer is counted", self._step, type(event).__name__)
        grad, owner = event.message, self._owners[event.peer]
        self._expect((grad.lo, grad.hi) == branch, "a gradient counts for its own branch", branch)
        self._expect(grad.step == self._step, "a gradient counts for its own step", grad.step)
        self._expect(grad.run == self._run, "nothing of another run is counted")
        self._expect(grad.gen == self._gen, "nothing of another generation is counted", grad.gen)
        self._expect(owner.name not in self._found, "nothing of a found liar is counted")
        is_one = owner.kind in CONTRIBUTORS
        self._expect(is_one, "a worker that must be refused never contributes", owner.kind.value)

    def _check_truth(self) -> None:
        """Loss and parameters are those of the single process, bit for bit, unless a lie is in."""
        training = self._state._training
        step = training.step
        if any(lie_step < step for lie_step, _ in self.counted_lies):
            return
        is_same = training.point.params_bytes == self._oracle.params[step]
        self._expect(is_same, "the same parameters as a single process")
        self._expect(training.loss == self._oracle.losses[step], "the same loss")

    # ---- sessions ----------------------------------------------------------------------------

    def _speaks_in_session(self, received: events.Received) -> bool:
        message = received.message
        if not isinstance(message, messages.FromMember):
            return False
        session = self._run, self._gen, self._sessions.get(received.peer)
        return (message.run, message.gen, message.sid) == session

    def _check_sessions(self, received: events.Received, effects: Sequence[Effect]) -> None:
        """A message of another run, generation or session changes nothing, and is asked WHO."""
        message = received.message
        if not isinstance(message, messages.FromMember) or self._speaks_in_session(received):
            return
        if not effects and not self._is_training:
            return
        first = effects[0] if effects else None
        is_asked = isinstance(first, Send) and isinstance(first.message, Who)
        self._expect(is_asked, "who has no session is asked WHO", type(message).__name__)
        is_ours = (message.run, message.gen) == (self._run, self._gen)
        if not (is_ours and isinstance(message, Grad)):
            self._expect(len(effects) == 1, "what has no session changes nothing", message)

    def _check_effect(self, effect: Effect, now: float) -> None:
        match effect:
            case Send(peer, Welcome(sid=sid)):
                self._sessions[peer] = sid
                self._heard_s[peer] = now
            case Send(peer, Refuse(text=text)):
                self._sessions.pop(peer, None)
                is_honest = self._owners[peer].kind is Kind.HONEST
                self._expect(not is_honest, "an honest worker is never refused", text)
            case Send(peer, Task(sid=sid)):
                self._expect(self._sessions.get(peer) == sid, "work goes to members only")
            case Save(step=step):
                disputes = self._state._audits.disputes
                self._expect(not disputes, "what is disputed is not saved", step)
            case Tell(LiarFound(name=name)):
                self._found.add(name)

    def _check_silence(self, now: float) -> None:
        held_up_s, self._ticked_s = now - self._ticked_s, now
        for peer in self._heard_s if held_up_s > HELD_UP_S else ():
            self._heard_s[peer] += held_up_s
        for member in self._state._members:
            if member.is_ready and self._is_training:
                limit_s = max(SILENCE_S, SILENCE_DOCUMENTS * member.document_s)
                silent_s = now - self._heard_s.get(member.peer, now)
                self._expect(silent_s <= limit_s, "who is silent is lost", member.name)

    def _check_status(self, now: float) -> None:
        """Whoever asks how the run stands gets an answer, whatever has happened."""
        status = self._state.status(now)
        self._expect(status.step == self._state._training.step, "a status tells the step")

    # ---- leases ------------------------------------------------------------------------------

    def _check_leases(self) -> None:
        leases = self._state._training.board._leases
        held = [lease for member in self._state._members for lease in member.leases]
        for member in self._state._members:
            self._expect(len(member.leases) <= LEASES_MAX, "at most two leases", member.name)
        self._expect(sorted(held) == sorted(leases), "every lease has one holder", held)
        if leases:
            copies = Counter(lease.branch for lease in leases.values())
            self._expect(max(copies.values()) <= COPIES_MAX, "at most two copies", copies)

    # ---- workers -----------------------------------------------------------------------------

    def is_first_nan(self, grad: Grad) -> bool:
        """Let a branch be answered by NaN once; twice would be a diverged run."""
        place = grad.step, grad.lo, grad.hi
        is_first = place not in self._nan_branches
        self._nan_branches.add(place)
        return is_first

    def waiting_branches(self) -> Sequence[Branch]:
        """Give what nobody computes yet, for a liar to guess."""
        return self._state._training.board.waiting

    def note_lie(self, name: str, payload: bytes) -> None:
        self._lies[payload] = name

    def check_cancel(self, lease: int, before: Sequence[int], after: Sequence[int]) -> None:
        """A worker has been told to drop one lease."""
        others = [[other for other in leases if other != lease] for leases in (before, after)]
        is_kept = others[0] == others[1]
        self._expect(is_kept, "who is told to drop a lease drops no other", lease)

    def on_exit(self, worker: Known, left: Exit) -> None:
        self.exits.append((worker.kind, left.failure))
        if worker.kind is Kind.HONEST:
            self._expect(left.failure is None, "an honest worker never gives up", left.failure)
        elif left.failure is not None:
            self._expect(left.is_permanent, "who is refused does not come back", left.failure)

    # ---- the end -----------------------------------------------------------------------------

    def is_done(self, failure: str | None) -> bool:
        """A coordinator has left: say whether the run is done, and hold it to what that means.

        It may also have been stopped; and what keeps it from saving is no fault of its own.
        """
        if failure is not None and LOST_OVER_IT in failure:
            is_deadly = self._state._training.step == self._deadly_step
            self._expect(is_deadly, "a document that harms nobody is not blamed", failure)
            return True
        if failure is not None:
            is_reason = self.durability.is_reason(failure)
            self._expect(is_reason, "a run that can go on is not given up", failure)
            return False
        if not self._state._training.is_finished:
            return False
        disputes, last = self._state._audits.disputes, self._disk.newest
        steps = self._oracle.run.train.steps
        if disputes and self._disk.durable_step < steps:
            return False  # stopped before it was known who is right: that is computed again
        self._expect(not disputes, "a run in dispute does not end", disputes)
        self._expect(self._disk.durable_step == steps, "the last step is durable")
        assert last is not None
        is_same = last.params.tobytes() == self._oracle.params[-1]
        self._expect(is_same or bool(self.counted_lies), "the same weights in the end")
        return True
