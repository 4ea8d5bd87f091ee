"""The coordinator's loop: where its state machine meets sockets, disk and clock.

Each turn drains the socket before it lets time pass, so that a coordinator that was itself stopped
for a while hears what its workers said meanwhile before it judges their silence. What it computes
itself and what it saves, it does beside the loop: no step waits for it.
"""

import gc
import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from coordinator import events
from coordinator.aside import Answer as Computed
from coordinator.aside import Job, computer
from coordinator.beside import Beside
from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.effects import (
    Continue,
    Effect,
    Evaluate,
    Finish,
    GoBack,
    Hold,
    Probe,
    Recompute,
    Save,
    Send,
    Tell,
)
from coordinator.evaluations import Evaluations
from coordinator.facts import Fact, HeldOutEvaluated, StepCommitted
from coordinator.going_back import go_back
from coordinator.memory import MemoryWatch
from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from coordinator.saver import Answer as SaveEnded
from coordinator.saver import saver, unwritable
from coordinator.settings import Settings
from coordinator.state import CoordinatorState
from coordinator.status import to_json
from coordinator.status_door import STATUS, TIMELINE, StatusDoor
from coordinator.store import Keep
from coordinator.timeline import StepTrace
from coordinator.training import Training
from engine.config import ModelConfig
from engine.gradient import Engine
from engine.optimizer import Moments
from engine.run import Run
from engine.shards import cursor
from wire.codec import decode, encode
from wire.doorkeeper import Doorkeeper
from wire.errors import MalformedFrame, VersionMismatch
from wire.transport import Listener

TICK_S = 0.005  # how often it lets time pass
LOOK_S = 0.05  # how often it looks at what is not the training
WAIT_S = 0.1  # how long a quiet loop waits; bounds how late a stop is noticed
SEEN_S = 1.0  # how often people are told how the workers do
GC_ALLOCATIONS = 50_000  # some hundred steps; what a step leaves has no cycles
MESSAGES_PER_TURN = 1000  # so that a flood cannot keep time from passing


Written: TypeAlias = SaveEnded | events.WentBack | events.GoBackFailed


@dataclass(frozen=True, slots=True)
class Deployment:
    """What one coordinator process is to do.

    Attributes:
        resumed: the checkpoint to go on from, or None for a new run.
        make_engine: gives the engine of a name; called in other threads too.
        keep: which checkpoints stay.
        keeper: of the keys of those who may join; None opens a plain socket.
        beat: told often that the loop turns: the monotonic clock, and what is wrong, if anything.
        trace: told where the time of each step went; None if nobody wants to know.
    """

    directory: RunDirectory
    run: Run
    dataset: DatasetRecord
    resumed: Checkpoint | None
    settings: Settings
    bind: str
    make_engine: Callable[[str, ModelConfig], Engine]
    status_bind: str
    memory_growth_bytes: int
    keep: Keep
    keeper: Doorkeeper | None
    beat: Callable[[float, str], None]
    trace: Callable[[StepTrace], None] | None = None


class CoordinatorService:
    """One coordinator process; the caller holds the run directory's lock.

    Attributes:
        complaint: what is wrong with the metrics that the run goes on from, for people; empty if
            nothing is.
    """

    def __init__(self, deployment: Deployment, observe: Callable[[Fact], None]) -> None:
        """Make the machine; nothing is bound yet.

        The run directory is made ready: this start is counted, metrics are cut back to the step
        that the run goes on from, and checkpoints that were passed over get other names.

        Args:
            observe: told every fact, in order.
        """
        self._deployment = deployment
        self._observe = observe
        self._failure: str | None = None
        self._is_finished = False
        self._ticked_s = self._looked_s = self._seen_s = float("-inf")
        self._departed: list[bytes] = []  # peers that are gone, or as good as
        resumed = deployment.resumed
        if resumed is None:
            self._run_id = secrets.token_hex(16)
            params, moments = deployment.run.params, Moments.zeros(deployment.run.model.num_params)
            training = Training(deployment.run, self._make_engine(), 0, params, moments, None)
        else:
            self._run_id = resumed.run
            deployment.directory.checkpoints.set_aside_after(resumed.step)
            training = Training(
                deployment.run,
                self._make_engine(),
                resumed.step,
                resumed.params,
                resumed.moments,
                resumed.loss,
            )
        self._told_step = training.step  # the newest whose line is in the metrics
        self._metrics = Metrics(deployment.directory.metrics, training.step)
        self.complaint = self._metrics.complaint
        self._state = CoordinatorState(
            training=training,
            work=deployment.run.work,
            settings=deployment.settings,
            run=self._run_id,
            gen=deployment.directory.next_generation(),
            durable_step=-1 if resumed is None else resumed.step,
            rng=random.Random(secrets.randbits(64)),
            evaluations=Evaluations(bool(deployment.run.held_out), self._metrics.is_evaluated),
            contributors={} if resumed is None else resumed.contributors,
            fingerprint="" if resumed is None else resumed.fingerprint,
            clock=time.monotonic,
        )
        self._computing: Beside[Job, Computed]
        self._saving: Beside[Checkpoint | GoBack, Written]

    def _make_engine(self) -> Engine:
        run = self._deployment.run
        return self._deployment.make_engine(run.train.engine, run.model)

    def serve(
        self, is_stopping: Callable[[], bool], on_bound: Callable[[str, str], None]
    ) -> str | None:
        """Run until the last step is durable, or until stopped.

        Args:
            is_stopping: asked often; once it says yes, the last committed step is saved.
            on_bound: called with the addresses of workers and of whoever asks for the status.

        Returns:
            None if all went well, else one line saying what failed.

        Raises:
            AddressInUse, TransportError: the address cannot be bound.
        """
        deployment = self._deployment
        keeper = deployment.keeper
        security = None if keeper is None else keeper.security
        with (
            self._metrics,
            Listener(deployment.bind, security=security) as listener,
            Beside(lambda: computer(deployment.run, self._make_engine), listener.wake) as computing,
            Beside(self._make_writer, listener.wake) as saving,
            StatusDoor(deployment.status_bind) as door,
        ):
            self._computing, self._saving = computing, saving
            watch = MemoryWatch(deployment.memory_growth_bytes)
            gc.freeze()  # documents and code live as long as the run: they need no collector
            gc.set_threshold(GC_ALLOCATIONS)
            self._handle(listener, events.Started())
            on_bound(listener.address, door.address)
            while not self._is_finished:
                listener.wait(WAIT_S)
                self._departed += listener.departed()
                self._drain(listener)  # before the ends are believed: the last word may be BYE
                while self._departed:
                    self._handle(listener, events.Departed(self._departed.pop(0)))
                for answer in chain(computing.answers(), saving.answers()):
                    if isinstance(answer, events.WentBack):
                        self._metrics.go_back(answer.step)
                        self._told_step = answer.step
                    self._handle(listener, answer)
                now = time.monotonic()
                if now - self._ticked_s >= TICK_S:
                    self._ticked_s = now
                    self._handle(listener, events.Ticked())
                    if is_stopping():
                        self._handle(listener, events.StopAsked())
                if now - self._looked_s >= LOOK_S:
                    self._looked_s = now
                    self._look_around(listener, door, watch, now)
        return self._failure

    def _look_around(
        self, listener: Listener, door: StatusDoor, watch: MemoryWatch, now: float
    ) -> None:
        """See to what can wait for a moment, where a step takes a millisecond."""
        for stranger in listener.strangers():
            self._handle(listener, events.StrangerLeft(stranger.address, stranger.wrong))
        if (keeper := self._deployment.keeper) is not None:
            for peer, key_name in keeper.look(listener, now):
                self._handle(listener, events.KeyRevoked(peer, key_name))
        if complaint := watch.complaint(now):
            self._handle(listener, events.Failed(complaint))
        self._metrics.flush()
        state = self._state
        if now - self._seen_s >= SEEN_S:
            self._seen_s = now
            self._observe(state.members_seen(now))
        door.answer(
            {
                STATUS: lambda: to_json(state.status(now)),
                TIMELINE: lambda: state.picture().to_json(),
            }
        )
        self._deployment.beat(now, self._state.trouble(now))

    def _drain(self, listener: Listener) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = listener.receive()
            if received is None:
                return
            self._handle(listener, _event(*received))

    def _handle(self, listener: Listener, event: events.Event) -> None:
        pending = [event]
        while pending:
            for effect in self._state.handle(pending.pop(0), time.monotonic()):
                pending += self._perform(listener, effect)

    def _perform(self, listener: Listener, effect: Effect) -> list[events.Event]:
        """Do what was asked for, and give what came of it."""
        match effect:
            case Send(peer, message):
                if not listener.send(peer, encode(message)):
                    self._departed.append(peer)
            case Continue():
                os.sched_yield()  # to who sends what was asked for, if it waits for this core
                self._handle(listener, events.Continued())  # before what was asked for after this
            case Save():
                return self._save(effect)
            case Evaluate(step):
                self._metrics.hold(step)
                self._computing.ask(effect)
            case Hold(step):
                self._metrics.hold(step)
            case Probe() | Recompute():
                self._computing.ask(effect)
            case GoBack():
                self._saving.ask(effect)
            case Tell(fact):
                if isinstance(fact, StepCommitted):
                    self._told_step = fact.step
                    self._metrics.append(fact)
                    if (trace := self._deployment.trace) is not None:
                        trace(self._state.timeline.newest)
                elif isinstance(fact, HeldOutEvaluated):
                    self._metrics.complete(fact.step, fact.held_out_loss)
                self._observe(fact)
            case Finish(failure):
                self._failure = failure
                self._is_finished = True
        return []

    def _save(self, save: Save) -> list[events.Event]:
        """Begin to save; the answer comes from beside the loop, unless metrics are refused now."""
        assert save.step <= self._told_step, "a step is saved whose line is not there"
        began_s = time.monotonic()
        deployment = self._deployment
        run, resumed = deployment.run, deployment.resumed
        checkpoint = Checkpoint(
            run=self._run_id,
            step=save.step,
            loss=save.loss,
            model=run.model,
            train=run.train,
            dataset=deployment.dataset,
            characters=run.tokenizer.characters,
            rng_state=run.rng_state,
            params=save.params,
            moments=save.moments,
            contributors=save.contributors,
            has_exact_numerics=not deployment.settings.accepts_numerics
            and (resumed is None or resumed.has_exact_numerics),
            cursor=cursor(save.step, run.train.batch_size, len(run.documents)),
            fingerprint=save.fingerprint,
        )
        try:
            self._metrics.settle()  # a durable step has its line
        except OSError as error:
            return [events.SaveFailed(save.step, unwritable(deployment.directory, error))]
        self._saving.ask(checkpoint)
        return [events.SaveBegan(time.monotonic() - began_s)]

    def _make_writer(self) -> Callable[[Checkpoint | GoBack], Written]:
        """Give what writes to the run directory, one thing after the other."""
        deployment = self._deployment
        save = saver(deployment.directory, self._metrics, deployment.keep)

        def write(job: Checkpoint | GoBack) -> Written:
            if isinstance(job, GoBack):
                return go_back(deployment.directory, deployment.run, job.step)
            return save(job)

        return write


def _event(peer: bytes, frames: list[bytes]) -> events.Event:
    try:
        return events.Received(peer, decode(frames))
    except VersionMismatch as error:
        return events.StrangerArrived(peer, str(error))
    except MalformedFrame as error:
        return events.Garbled(peer, str(error))
