"""WorkerState: the only place that decides what a worker does.

`handle(event, now)` returns effects and does nothing else. The phases:

    SEARCHING   no coordinator yet          -> GREETING    Opened: say HELLO
    GREETING    HELLO is out                -> PREPARING   WELCOME
    PREPARING   the engine is being built   -> WORKING     Prepared: say READY
    WORKING     tasks come, gradients go
    LEFT        Exit is out; every further event is ignored

From every phase but LEFT: a lost connection or a silent coordinator -> SEARCHING with a new
socket, WHO -> GREETING, a permanent REFUSE, BYE after the last step, or StopAsked -> LEFT.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from engine.config import WorkConfig
from engine.errors import ConfigError
from engine.packed import PackedDocuments
from engine.params import Flat, from_bytes
from engine.shards import Tokens
from wire import messages
from wire.errors import PayloadMismatch
from wire.messages import DONE, DUPLICATE, PROTOCOL_VERSION, STALE, STOPPING
from wire.payload import unpack
from worker import events
from worker.compute import TaskMismatch, check_documents, check_params
from worker.effects import Abandon, Compute, Connect, Effect, Exit, Prepare, Send, Tell

SILENCE_BEATS = 3  # heartbeats without a word, then the coordinator is gone; zguide ch. 4
SEARCH_S = 2.0  # how long the first socket may search; a worker says once that it waits
SEARCH_S_MAX = 32.0  # each further one twice as long, up to this
GREETING_S = 1.5  # how long HELLO may go unanswered
PROGRESS_S = 1.0  # at most one PROGRESS in this time
READY_S = 5.0  # without anything to do, after which READY is said again: it, or a task, may be lost


class Phase(Enum):
    SEARCHING = auto()
    GREETING = auto()
    PREPARING = auto()
    WORKING = auto()
    LEFT = auto()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker says of itself.

    Attributes:
        name: unique for each process start.
        versions: for people.
    """

    name: str
    host: str
    pid: int
    versions: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A lease with all that it takes to answer it.

    Attributes:
        arrived_s: when the task came.
    """

    arrived_s: float
    task: messages.Task
    params: Flat
    documents: Sequence[Tokens]


class WorkerState:
    """One worker process, through any number of sessions."""

    def __init__(
        self, identity: Identity, address: str, max_idle_s: float | None, rng: random.Random
    ) -> None:
        """Begin without a connection.

        Args:
            address: of the coordinator, for people.
            max_idle_s: leave after so long without a coordinator; None waits for ever.
            rng: spreads reconnecting workers over time.
        """
        self._identity = identity
        self._address = address
        self._max_idle_s = max_idle_s
        self._rng = rng
        self._phase = Phase.SEARCHING
        self._phase_since_s = 0.0
        self._idle_since_s = 0.0
        self._search_s = SEARCH_S
        self._heard_s = 0.0
        self._pinged_s = 0.0
        self._progress_s = 0.0
        self._busy_s = 0.0  # when there last was something to do, or READY was said
        self._is_hello_due = False
        self._said_waiting: str | None = None
        self._closed_reason = ""  # of the last connection, or attempt at one
        self._welcome: messages.Welcome | None = None
        self._work: WorkConfig | None = None
        self._prepared: events.Prepared | None = None
        self._params: Flat | None = None
        self._params_digest = ""
        self._current: Assignment | None = None
        self._queued_s = 0.0  # that it has waited for its turn
        self._queue: deque[Assignment] = deque()

    def start(self, now: float) -> list[Effect]:
        """Give the first effects."""
        self._idle_since_s = now
        return self._search(now)

    def handle(self, event: events.Event, now: float) -> list[Effect]:
        """Give what is to be done about an event, in order."""
        if self._phase is Phase.LEFT:
            return []
        match event:
            case events.Received(message):
                self._heard_s = now
                return self._on_message(message, now)
            case events.DocumentDone(documents_done):
                return self._on_document_done(documents_done, now)
            case events.BranchDone():
                return self._on_branch_done(event, now)
            case events.Ticked():
                return self._on_tick(now)
            case events.Opened():
                return self._greet(now) if self._phase is Phase.SEARCHING else []
            case events.Closed(reason):
                self._closed_reason = reason
                return [] if self._phase is Phase.SEARCHING else self._search(now)
            case events.Unsent():
                self._is_hello_due = self._phase is Phase.GREETING
                return []
            case events.Prepared():
                return self._on_prepared(event, now)
            case events.Garbled(reason):
                return [Tell(f"dropped a message: {reason}"), *self._ask_again()]
            case events.StopAsked():
                return self._leave()

    # ---- finding a coordinator --------------------------------------------------------------

    def _enter(self, phase: Phase, now: float) -> None:
        self._phase = phase
        self._phase_since_s = now

    def _search(self, now: float) -> list[Effect]:
        self._enter(Phase.SEARCHING, now)
        return [*self._end_session(now), Connect()]

    def _greet(self, now: float) -> list[Effect]:
        self._enter(Phase.GREETING, now)
        self._heard_s = now
        return [*self._end_session(now), self._hello()]

    def _hello(self) -> Effect:
        self._is_hello_due = False
        who = self._identity
        return Send(messages.Hello(PROTOCOL_VERSION, who.name, who.host, who.pid, who.versions))

    def _end_session(self, now: float) -> list[Effect]:
        """Forget what belonged to the session; keep parameters, which a digest names."""
        if self._welcome is not None:
            self._idle_since_s = now
        self._welcome = None
        return self._drop_work()

    def _drop_work(self) -> list[Effect]:
        self._queue.clear()
        was_computing, self._current = self._current is not None, None
        return [Abandon()] if was_computing else []

    def _on_tick(self, now: float) -> list[Effect]:
        since_s = now - self._phase_since_s
        if self._is_idle_too_long(now):
            self._phase = Phase.LEFT
            return [
                Exit(
                    f"expected a coordinator within {self._max_idle_s:g} s, got none{self._why}"
                    f" — {self._address}; start it, or check the address"
                )
            ]
        if self._phase is Phase.SEARCHING and since_s > self._search_s:
            self._search_s = min(2 * self._search_s, SEARCH_S_MAX) * self._rng.uniform(0.75, 1.0)
            return self._say_waiting() + self._search(now)
        if self._phase is Phase.GREETING:
            if since_s > GREETING_S:
                return self._say_waiting() + self._search(now)
            return [self._hello()] if self._is_hello_due else []
        if self._welcome is not None:
            if now - self._heard_s > SILENCE_BEATS * self._welcome.heartbeat_s:
                return [Tell("the coordinator fell silent; searching again"), *self._search(now)]
            if now - self._pinged_s >= self._welcome.heartbeat_s:
                self._pinged_s = now
                return [Send(messages.Ping(*self._session(), now)), *self._ask_if_idle(now)]
        return []

    def _ask_if_idle(self, now: float) -> list[Effect]:
        if self._phase is not Phase.WORKING:
            return []
        if self._current is not None:
            self._busy_s = now
        if now - self._busy_s < READY_S:
            return []
        self._busy_s = now
        return [self._ready()]

    def _is_idle_too_long(self, now: float) -> bool:
        if self._max_idle_s is None or self._phase not in (Phase.SEARCHING, Phase.GREETING):
            return False
        return now - self._idle_since_s > self._max_idle_s

    def _say_waiting(self) -> list[Effect]:
        if self._said_waiting == self._closed_reason:
            return []
        self._said_waiting = self._closed_reason
        said = f"no coordinator answers at {self._address} yet{self._why}; waiting for one"
        return [Tell(said)]

    @property
    def _why(self) -> str:
        return f" ({self._closed_reason})" if self._closed_reason else ""

    # ---- messages ---------------------------------------------------------------------------

    def _on_message(self, message: messages.Message, now: float) -> list[Effect]:
        match message:
            case messages.Welcome():
                return self._on_welcome(message, now)
            case messages.Refuse(_, text, permanent):
                return self._on_refuse(text, permanent)
            case messages.Who(sid=sid):
                is_ours = self._welcome is not None and sid == self._welcome.sid
                return self._greet(now) if is_ours else []
        if not isinstance(message, messages.FromCoordinator) or self._welcome is None:
            return []
        if (message.run, message.gen, message.sid) != self._session():
            return []
        match message:
            case messages.Task():
                return self._on_task(message, now)
            case messages.Cancel(lease=lease):
                return self._on_cancel(lease, now)
            case messages.Ping(t=t):
                return [Send(messages.Pong(*self._session(), t))]
            case messages.Bye(reason=reason):
                return self._on_bye(reason, now)
            case messages.Result(status=status) if status in (STALE, DUPLICATE):
                return []  # ordinary: another's copy was there first
            case messages.Result(step=step, status=status):
                return [Tell(f"a gradient of step {step + 1} was not counted: {status}")]
        return []

    def _on_welcome(self, welcome: messages.Welcome, now: float) -> list[Effect]:
        if self._phase is not Phase.GREETING:
            return []
        try:
            work = WorkConfig.from_json(welcome.config)
        except ConfigError as error:
            return self._give_up(str(error))
        if welcome.v != PROTOCOL_VERSION or welcome.heartbeat_s <= 0:
            return self._give_up(
                f"expected protocol version {PROTOCOL_VERSION} and a heartbeat, got version"
                f" {welcome.v} and {welcome.heartbeat_s:g} s — welcome; run the same version"
            )
        self._welcome, self._work = welcome, work
        self._search_s, self._said_waiting = SEARCH_S, None
        self._enter(Phase.PREPARING, now)
        return [Tell(f"joined run {welcome.run[:8]} at {self._address}"), Prepare(work)]

    def _on_prepared(self, prepared: events.Prepared, now: float) -> list[Effect]:
        if self._phase is not Phase.PREPARING:
            return []
        self._prepared = prepared
        self._heard_s = now  # a compilation holds us up; what was said meanwhile may be unread
        self._enter(Phase.WORKING, now)
        self._busy_s = now
        return [self._ready()]

    def _ready(self) -> Effect:
        assert self._work is not None
        assert self._prepared is not None
        return Send(
            messages.Ready(
                *self._session(),
                config_hash=self._work.digest,
                fingerprint=self._prepared.fingerprint,
                params_digest=self._params_digest,
                document_s=self._prepared.document_s,
            )
        )

    def _on_refuse(self, text: str, permanent: bool) -> list[Effect]:
        if not permanent:
            return [Tell(f"refused for now: {text}")]  # HELLO times out, and is said again
        return self._give_up(f"refused: {text}")

    def _on_bye(self, reason: str, now: float) -> list[Effect]:
        if reason == DONE:
            self._phase = Phase.LEFT
            return [Tell("the run is done"), *self._drop_work(), Exit()]
        return [Tell("the coordinator has stopped; searching again"), *self._search(now)]

    def _leave(self) -> list[Effect]:
        effects = self._drop_work()
        if self._welcome is not None:
            effects.append(Send(messages.Bye(*self._session(), STOPPING, -1)))
        self._phase = Phase.LEFT
        return [*effects, Exit()]

    # ---- work -------------------------------------------------------------------------------

    def _on_task(self, task: messages.Task, now: float) -> list[Effect]:
        assert self._work is not None
        if self._phase is not Phase.WORKING:
            return []
        try:
            documents = PackedDocuments.of_arrays(*unpack(task.payload, task.num_documents))
            check_documents(self._work, task.lo, task.hi, documents)
            check_params(self._work, task.params)
        except (PayloadMismatch, TaskMismatch) as error:
            return self._give_up(f"{error}; run the same version everywhere")
        if task.params:  # they are what their digest says, or the message had not arrived
            self._params, self._params_digest = from_bytes(task.params), task.params_digest
        if self._params is None or self._params_digest != task.params_digest:
            return self._ask_again()
        self._queue.append(Assignment(now, task, self._params, documents))
        return self._next(now) if self._current is None else []

    def _ask_again(self) -> list[Effect]:
        """Something was lost on the way: give every lease back, and say what we hold."""
        if self._phase is not Phase.WORKING:
            return []
        return [*self._drop_work(), self._ready()]

    def _give_up(self, failure: str) -> list[Effect]:
        self._phase = Phase.LEFT
        return [*self._drop_work(), Exit(failure, is_permanent=True)]

    def _next(self, now: float) -> list[Effect]:
        if not self._queue:
            return []
        self._current = self._queue.popleft()
        self._queued_s = now - self._current.arrived_s
        task = self._current.task
        return [Compute(task.lo, task.hi, self._current.params, self._current.documents)]

    def _on_cancel(self, lease: int, now: float) -> list[Effect]:
        if self._current is not None and self._current.task.lease == lease:
            self._current = None
            return [Abandon(), *self._next(now)]
        self._queue = deque(a for a in self._queue if a.task.lease != lease)
        return []

    def _on_document_done(self, documents_done: int, now: float) -> list[Effect]:
        if self._current is None or now - self._progress_s < PROGRESS_S:
            return []
        self._progress_s = now
        lease = self._current.task.lease
        return [Send(messages.Progress(*self._session(), lease, documents_done))]

    def _on_branch_done(self, done: events.BranchDone, now: float) -> list[Effect]:
        if self._current is None:
            return []
        task, self._current = self._current.task, None
        grad = messages.Grad(
            *self._session(),
            step=task.step,
            lo=task.lo,
            hi=task.hi,
            lease=task.lease,
            params_digest=task.params_digest,
            loss_sum=done.loss_sum,
            queued_s=self._queued_s,
            compute_s=done.compute_s,
            payload=done.grad_sum,
        )
        return [Send(grad), *self._next(now)]

    def _session(self) -> tuple[str, int, int]:
        assert self._welcome is not None
        return self._welcome.run, self._welcome.gen, self._welcome.sid
