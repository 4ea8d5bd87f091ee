"""One simulated worker process: the production state machine, in the order of worker/service.py."""

import math
import random
from collections import deque
from dataclasses import replace

from engine.branch import BranchComputation
from engine.config import WorkConfig
from engine.fingerprint import fingerprint
from engine.params import from_bytes, to_bytes
from tests.simulation.network import Connection, Frames
from tests.simulation.plan import Kind
from tests.simulation.said import Said
from tests.simulation.surroundings import Surroundings
from wire.codec import decode, encode
from wire.digest import params_digest
from wire.errors import WireError
from wire.messages import Cancel, Grad, Hello, Message, Ready
from worker import events
from worker.effects import Abandon, Compute, Connect, Effect, Exit, Prepare, Send, Tell
from worker.state import Identity, WorkerState

WAIT_S = 0.5  # of an idle loop; the real one looks five times as often
DOCUMENT_S = 0.01, 0.05, 0.3  # how long a worker takes for one document
PREPARE_S = 0.05, 3.0


class WorkerHost:
    """One process, from its start to its end.

    Attributes:
        name: like the state's identity; only a stubborn liar has one that was used before.
        exit: why it left, if it did by itself.
    """

    def __init__(self, world: Surroundings, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.is_alive = True
        self.exit: Exit | None = None
        self._world = world
        self._clock = world.clock
        self._rng = world.faults.rng
        self._document_s = self._rng.choice(DOCUMENT_S)
        self._connection: Connection | None = None
        self._inbox: deque[Frames] = deque()
        self._changes: list[bool] = []
        self._work: WorkConfig | None = None
        self._is_prepared = False
        self._is_told = True  # the state knows what has come of the last Prepare
        self._computation: BranchComputation | None = None
        self._computing_since_s = 0.0
        self._params_before = b""
        self._stalled_until_s = 0.0
        self._is_stopping = False
        self._is_hanging = False
        self._wake_s = math.inf  # when the next turn is due, unless a portion is under way
        self._is_busy = False
        self._state = WorkerState(
            Identity(name, "host", 1, "versions"),
            "tcp://simulated:1",
            None,
            random.Random(self._rng.getrandbits(32)),
        )
        self._clock.say(name, f"starts ({kind.value})")
        self._perform(self._state.start(self._clock.now))
        self._wake(WAIT_S)

    # ---- what chaos does ---------------------------------------------------------------------

    def crash(self) -> None:
        if self.is_alive:
            self._clock.say(self.name, "is killed")
            self._end()

    def stall(self, seconds: float) -> None:
        """Stop, as SIGSTOP does: what arrives piles up."""
        self._clock.say(self.name, f"stalls for {seconds:.1f} s")
        self._stalled_until_s = self._clock.now + seconds

    def hang(self) -> None:
        """Compute on and on, and get nowhere, until somebody ends that; PINGs are answered."""
        self._clock.say(self.name, "hangs")
        self._is_hanging = True

    def stop(self) -> None:
        self._is_stopping = True

    def _end(self) -> None:
        self.is_alive = False
        if self._connection is not None:
            self._world.network.close(self._connection)

    # ---- what the network does ---------------------------------------------------------------

    def arrive(self, connection: Connection, frames: Frames) -> None:
        if self.is_alive and connection is self._connection:
            self._inbox.append(frames)
            self._wake(0.0)

    def change(self, connection: Connection, is_up: bool) -> None:
        if self.is_alive and connection is self._connection:
            self._changes.append(is_up)
            self._wake(0.0)

    # ---- the loop ----------------------------------------------------------------------------

    def _wake(self, delay_s: float) -> None:
        """Have a turn then, or earlier."""
        at_s = self._clock.now + delay_s
        if at_s < self._wake_s and not self._is_busy:
            self._wake_s = at_s
            self._clock.after(delay_s, self._turn_if_due, at_s)

    def _turn_if_due(self, at_s: float) -> None:
        if not self.is_alive or at_s != self._wake_s or self._is_busy:
            return
        if self._clock.now < self._stalled_until_s:
            self._wake_s = self._stalled_until_s
            self._clock.after(
                self._stalled_until_s - self._clock.now, self._turn_if_due, self._wake_s
            )
            return
        self._turn()

    def _turn(self) -> None:
        self._wake_s = math.inf
        connection, changes = self._connection, self._changes
        self._changes = []
        while connection is self._connection and self._inbox:
            self._handle(_event(self._inbox.popleft()))
        for is_up in changes:
            if connection is self._connection:
                self._handle(events.Opened() if is_up else events.Closed())
        self._handle(events.Ticked())
        if self._is_prepared and not self._is_told:
            self._is_told = True
            self._handle(self._prepared())
        if self._is_stopping:
            self._handle(events.StopAsked())
        if not self.is_alive:
            return
        if self._computation is not None and not self._is_hanging:
            self._is_busy = True
            self._clock.after(self._document_s, self._end_portion)
        else:
            self._wake(0.0 if self._inbox else WAIT_S)

    def _end_portion(self) -> None:
        if not self.is_alive:
            return
        if self._clock.now < self._stalled_until_s:
            self._clock.after(self._stalled_until_s - self._clock.now, self._end_portion)
            return
        self._is_busy = False
        computation = self._computation
        assert computation is not None
        computation.advance()
        total = computation.total
        if total is None:
            self._handle(events.DocumentDone(computation.documents_done))
        else:
            self._computation = None
            compute_s = self._clock.now - self._computing_since_s
            self._handle(events.BranchDone(total.loss, to_bytes(total.grad), compute_s))
        self._turn()

    def _handle(self, event: events.Event) -> None:
        before = self._leases
        effects = self._state.handle(event, self._clock.now)
        match event:
            case events.Received(Cancel(lease=lease)) if before:
                self._world.checks.check_cancel(lease, before, self._leases)
        self._perform(effects)

    @property
    def _leases(self) -> list[int]:
        """What the state is to answer, in order."""
        state = self._state
        assignments = [*([state._current] if state._current else []), *state._queue]
        return [assignment.task.lease for assignment in assignments]

    def _prepared(self) -> events.Event:
        oracle = self._world.oracle
        ours = fingerprint(oracle.engine, oracle.run.model)
        is_other = self.kind is Kind.OTHER_NUMERICS
        return events.Prepared(self._document_s, "0" * 64 if is_other else ours)

    # ---- effects -----------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        network = self._world.network
        for effect in effects:
            match effect:
                case Send(message):
                    sent = self._disguised(message)
                    self._clock.say(self.name, Said("coordinator", sent))
                    frames = encode(sent)
                    if self._connection is None or not network.send_up(self._connection, frames):
                        self._handle(events.Unsent())
                case Connect():
                    if self._connection is not None:
                        network.close(self._connection)
                    self._inbox.clear()
                    self._changes.clear()
                    self._connection = network.connect(self)
                case Prepare(work):
                    self._prepare(work)
                case Compute(lo, hi, params, documents):
                    assert self._work is not None
                    self._die_of(lo)
                    self._computing_since_s = self._clock.now
                    its_own = from_bytes(self._params_of_its_own(to_bytes(params)))
                    self._computation = BranchComputation(
                        self._world.oracle.engine, self._work, its_own, documents, (lo, hi)
                    )
                case Abandon():
                    self._computation = None
                    self._is_hanging = False
                case Tell(text):
                    self._clock.say(self.name, f"% {text}")
                case Exit(failure):
                    self._clock.say(self.name, f"exits: {failure or 'done'}")
                    self.exit = effect
                    self._world.checks.on_exit(self, effect)
                    self._end()

    def _die_of(self, lo: int) -> None:
        """Be killed by what is computed, if that is so."""
        current = self._state._current
        assert current is not None
        if (current.task.step, lo) == (self._world.plan.deadly_step, 0):
            self._clock.after(self._document_s / 2, self.crash)

    def _prepare(self, work: WorkConfig) -> None:
        self._is_told = False
        if self._work != work:  # else a session later, the same run
            self._work = work
            self._clock.after(self._rng.uniform(*PREPARE_S), self._become_prepared)

    def _become_prepared(self) -> None:
        if self.is_alive:
            self._is_prepared = True
            self._wake(0.0)

    # ---- what only strange workers do --------------------------------------------------------

    def _disguised(self, message: Message) -> Message:
        match message:
            case Hello() if self.kind is Kind.OLD_VERSION:
                return replace(message, v=0)
            case Ready() if self.kind is Kind.OTHER_CONFIG:
                return replace(message, config_hash="0" * 64)
            case Grad():
                return self._altered(message)
        return message

    def _params_of_its_own(self, params: bytes) -> bytes:
        """Give the parameters to differentiate by; a worker that mixes them up takes others."""
        if self.kind is not Kind.STALE_PARAMS:
            return params
        if not self._params_before:
            self._params_before = bytes(len(params))  # as if it had missed every TASK with some
        return self._params_before

    def _altered(self, grad: Grad) -> Grad:
        faults = self._world.faults
        if self.kind is Kind.STALE_PARAMS:
            return replace(grad, params_digest=params_digest(self._params_before))
        if faults.strikes("nan") and self._world.checks.is_first_nan(grad):
            faults.count("nan")
            return replace(grad, loss_sum=math.nan, payload=_all_nan(grad.payload))
        if self.kind is Kind.LIAR and faults.strikes("lie"):
            faults.count("lie")
            vector = from_bytes(grad.payload)
            place = self._rng.randrange(len(vector))
            vector[place] = self._rng.uniform(-1, 1)
            lie = to_bytes(vector)
            self._world.checks.note_lie(self.name, lie)
            lo, hi = self._rng.choice([(grad.lo, grad.hi), *self._world.checks.waiting_branches()])
            self._clock.say(self.name, f"lies about ({lo}, {hi})")
            return replace(grad, lo=lo, hi=hi, payload=lie)
        return grad


def _all_nan(payload: bytes) -> bytes:
    vector = from_bytes(payload)
    for place in range(len(vector)):
        vector[place] = math.nan
    return to_bytes(vector)


def _event(frames: Frames) -> events.Event:
    try:
        return events.Received(decode(frames))
    except WireError as error:
        return events.Garbled(str(error))
