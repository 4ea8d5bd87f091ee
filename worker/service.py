"""The worker's loop: where its state machine meets the socket, the engine and the clock.

Between two portions of its work it looks at the socket, so that a heartbeat is a sign of life of
the thread that computes. Preparing an engine may mean to compile it, and has a thread of its own:
the coordinator hears from us meanwhile.
"""

import gc
import random
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from engine.branch import BranchComputation
from engine.config import ModelConfig, WorkConfig
from engine.fingerprint import fingerprint
from engine.gradient import Engine
from engine.params import to_bytes
from wire.codec import decode, encode
from wire.errors import WireError
from wire.keys import ClientKey
from wire.transport import Connection
from worker import events
from worker.compute import probe_portion
from worker.effects import Abandon, Compute, Connect, Effect, Exit, Prepare, Send, Tell
from worker.state import Identity, WorkerState

WAIT_S = 0.1  # how long an idle loop waits; bounds how late a stop is noticed
LOOK_S = 0.002  # between two looks at the socket, where portions are shorter than that
# A document's graph has no cycles and is freed without the collector, which would walk its 10^5
# nodes again and again while it grows: a fifth of the time of a document.
GC_ALLOCATIONS = 1_000_000


class WorkerService:
    """One worker process."""

    def __init__(
        self,
        identity: Identity,
        address: str,
        key: ClientKey | None,
        max_idle_s: float | None,
        make_engine: Callable[[str, ModelConfig], Engine],
        observe: Callable[[str], None],
        beat: Callable[[float, str], None],
    ) -> None:
        """Make the machine; nothing is connected yet.

        Args:
            key: None connects to a plain socket.
            make_engine: gives the engine of a name; called in another thread.
            observe: told every line that a person may want to read.
            beat: told often that the loop turns: the monotonic clock, and what is wrong.
        """
        self._address = address
        self._key = key
        self._beat = beat
        self._make_engine = make_engine
        self._observe = observe
        rng = random.Random(secrets.randbits(64))
        self._state = WorkerState(identity, address, max_idle_s, rng)
        self._connection: Connection | None = None
        self._work: WorkConfig | None = None
        self._engine: Engine | None = None
        self._preparing: Future[tuple[Engine, events.Prepared]] | None = None
        self._is_told = False  # the machine knows what has come of that
        self._computation: BranchComputation | None = None
        self._computing_since_s = 0.0
        self._exit: Exit | None = None

    def serve(self, is_stopping: Callable[[], bool]) -> Exit:
        """Work until the run is done, the coordinator refuses, or somebody wants it to stop.

        Raises:
            TransportError: the address has not the form of one.
        """
        gc.set_threshold(GC_ALLOCATIONS)
        try:
            self._perform(self._state.start(time.monotonic()))
            while self._exit is None:
                self._turn()
                self._beat(time.monotonic(), "")
                if is_stopping():
                    self._handle(events.StopAsked())
        finally:
            if self._connection is not None:
                self._connection.close()
        return self._exit

    def _turn(self) -> None:
        connection = self._connection
        assert connection is not None
        connection.wait(WAIT_S if self._computation is None else 0.0)
        changes = connection.changes()
        # First what was said, then that the line went dead: the last word may have been BYE.
        # A new socket may replace this one at any event; its turn comes next time.
        while connection is self._connection and (frames := connection.receive()) is not None:
            self._handle(_event(frames))
        for change in changes:
            if connection is self._connection:
                self._handle(events.Opened() if change.is_up else events.Closed(change.reason))
        self._handle(events.Ticked())
        if not self._is_told and self._preparing is not None and self._preparing.done():
            self._engine, prepared = self._preparing.result()
            self._is_told = True
            self._handle(prepared)
        if self._computation is not None:
            self._advance(self._computation)

    def _advance(self, computation: BranchComputation) -> None:
        look_s = time.monotonic() + LOOK_S
        computation.advance()
        while computation.total is None and time.monotonic() < look_s:
            computation.advance()
        total = computation.total
        if total is None:
            self._handle(events.DocumentDone(computation.documents_done))
        else:
            self._computation = None
            compute_s = time.monotonic() - self._computing_since_s
            self._handle(events.BranchDone(total.loss, to_bytes(total.grad), compute_s))

    def _handle(self, event: events.Event) -> None:
        self._perform(self._state.handle(event, time.monotonic()))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    if self._connection is None or not self._connection.send(encode(message)):
                        self._handle(events.Unsent())
                case Connect():
                    if self._connection is not None:
                        self._connection.close(linger_ms=0)  # its messages are of no use to others
                    self._connection = Connection(self._address, self._key)
                case Prepare(work):
                    self._prepare(work)
                case Compute(lo, hi, params, documents):
                    assert self._work is not None
                    assert self._engine is not None
                    self._computing_since_s = time.monotonic()
                    self._computation = BranchComputation(
                        self._engine, self._work, params, documents, (lo, hi)
                    )
                case Abandon():
                    self._computation = None
                case Tell(text):
                    self._observe(text)
                case Exit():
                    self._exit = effect

    def _prepare(self, work: WorkConfig) -> None:
        """Begin to make an engine; one that is being made for another run is forgotten.

        The same run, a session later, needs no other.
        """
        if self._work == work:
            self._is_told = False
            return
        self._work, self._is_told = work, False
        future: Future[tuple[Engine, events.Prepared]] = Future()

        def prepare() -> None:
            try:
                engine = self._make_engine(work.engine, work.model)
                digest = fingerprint(engine, work.model)  # the first gradient compiles
                began_s = time.monotonic()
                probe_portion(engine, work)
                portion_s = time.monotonic() - began_s
                future.set_result((engine, events.Prepared(portion_s, digest)))
            except BaseException as error:
                future.set_exception(error)

        self._preparing = future
        Thread(target=prepare, daemon=True).start()


def _event(frames: list[bytes]) -> events.Event:
    try:
        return events.Received(decode(frames))
    except WireError as error:
        return events.Garbled(str(error))
