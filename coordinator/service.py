"""The coordinator's loop: where its state machine meets sockets, disk and clock.

Each turn drains the socket before it lets time pass, so that a coordinator that was itself stopped
for a while hears what its workers said meanwhile before it judges their silence. Evaluations go on
beside the loop, in a thread: messages are answered meanwhile.
"""

import random
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Self

from coordinator import events
from coordinator.checkpoint import Checkpoint, DatasetRecord, RunDirectory
from coordinator.effects import Effect, Evaluate, Finish, Save, Send, Tell
from coordinator.errors import CheckpointUnwritable
from coordinator.evaluations import Evaluations
from coordinator.facts import Fact, HeldOutEvaluated, StepCommitted
from coordinator.metrics import Metrics
from coordinator.settings import Settings
from coordinator.state import CoordinatorState
from coordinator.training import Training
from engine.config import ModelConfig
from engine.evaluate import held_out_loss
from engine.gradient import Engine
from engine.optimizer import Moments
from engine.params import Flat
from engine.run import Run
from wire.codec import decode, encode
from wire.errors import MalformedFrame, VersionMismatch
from wire.transport import Listener

WAIT_S = 0.1  # how long a quiet loop waits; bounds how late a stop is noticed
MESSAGES_PER_TURN = 1000  # so that a flood cannot keep time from passing
EVALUATION_END_S = 1.0  # that a coordinator which leaves waits for an evaluation nobody awaits


@dataclass(frozen=True, slots=True)
class Deployment:
    """What one coordinator process is to do.

    Attributes:
        resumed: the checkpoint to go on from, or None for a new run.
        make_engine: gives the engine of a name; called in other threads too.
    """

    directory: RunDirectory
    run: Run
    dataset: DatasetRecord
    resumed: Checkpoint | None
    settings: Settings
    bind: str
    make_engine: Callable[[str, ModelConfig], Engine]


class CoordinatorService:
    """One coordinator process; the caller holds the run directory's lock."""

    def __init__(self, deployment: Deployment, observe: Callable[[Fact], None]) -> None:
        """Make the machine; nothing is bound yet.

        Args:
            observe: told every fact, in order.
        """
        self._deployment = deployment
        self._observe = observe
        self._failure: str | None = None
        self._is_finished = False
        self._departed: list[bytes] = []  # peers that are gone, or as good as
        resumed = deployment.resumed
        engine = deployment.make_engine(deployment.run.train.engine, deployment.run.model)
        if resumed is None:
            self._run_id = secrets.token_hex(16)
            params, moments = deployment.run.params, Moments.zeros(deployment.run.model.num_params)
            training = Training(deployment.run, engine, 0, params, moments, None)
        else:
            self._run_id = resumed.run
            training = Training(
                deployment.run,
                engine,
                resumed.step,
                resumed.params,
                resumed.moments,
                resumed.loss,
            )
        self._metrics = Metrics(deployment.directory.metrics, training.step)
        self._state = CoordinatorState(
            training=training,
            work=deployment.run.work,
            settings=deployment.settings,
            run=self._run_id,
            gen=deployment.directory.next_generation(),
            durable_step=-1 if resumed is None else resumed.step,
            rng=random.Random(secrets.randbits(64)),
            evaluations=Evaluations(bool(deployment.run.held_out), self._metrics.is_evaluated),
        )
        self._evaluator = Evaluator(deployment.run, deployment.make_engine)

    def serve(self, is_stopping: Callable[[], bool], on_bound: Callable[[str], None]) -> str | None:
        """Run until the last step is durable, or until stopped.

        Args:
            is_stopping: asked often; once it says yes, the last committed step is saved.
            on_bound: called with the address that workers can connect to.

        Returns:
            None if all went well, else one line saying what failed.

        Raises:
            AddressInUse, TransportError: the address cannot be bound.
        """
        with self._metrics, self._evaluator, Listener(self._deployment.bind) as listener:
            self._handle(listener, events.Started())
            on_bound(listener.address)
            while not self._is_finished:
                listener.wait(WAIT_S)
                self._departed += listener.departed()
                self._drain(listener)  # before the ends are believed: the last word may be BYE
                while self._departed:
                    self._handle(listener, events.Departed(self._departed.pop(0)))
                for _ in range(listener.strangers()):
                    self._handle(listener, events.Garbled(b"", "a connection said nothing"))
                if evaluated := self._evaluator.answer():
                    self._handle(listener, evaluated)
                self._handle(listener, events.Ticked())
                if is_stopping():
                    self._handle(listener, events.StopAsked())
        return self._failure

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
        self._metrics.flush()

    def _perform(self, listener: Listener, effect: Effect) -> list[events.Event]:
        """Do what was asked for, and give what came of it."""
        match effect:
            case Send(peer, message):
                if not listener.send(peer, encode(message)):
                    self._departed.append(peer)
            case Save():
                return [self._save(effect)]
            case Evaluate(step, params):
                self._metrics.hold(step)
                self._evaluator.ask(step, params)
            case Tell(fact):
                if isinstance(fact, StepCommitted):
                    self._metrics.append(fact)
                elif isinstance(fact, HeldOutEvaluated):
                    self._metrics.complete(fact.step, fact.held_out_loss)
                self._observe(fact)
            case Finish(failure):
                self._failure = failure
                self._is_finished = True
        return []

    def _save(self, save: Save) -> events.Event:
        deployment = self._deployment
        checkpoint = Checkpoint(
            run=self._run_id,
            step=save.step,
            loss=save.loss,
            model=deployment.run.model,
            train=deployment.run.train,
            dataset=deployment.dataset,
            characters=deployment.run.tokenizer.characters,
            rng_state=deployment.run.rng_state,
            params=save.params,
            moments=save.moments,
        )
        try:
            self._metrics.sync()  # a durable step has its line
            deployment.directory.save(checkpoint)
        except CheckpointUnwritable as error:
            return events.SaveFailed(save.step, str(error))
        except OSError as error:
            reason = (
                f"expected room for metrics, got {error.strerror} — {deployment.directory.metrics}"
            )
            return events.SaveFailed(save.step, reason)
        return events.Saved(save.step)


class Evaluator:
    """Computes held-out losses in a thread, one at a time, with an engine of its own."""

    def __init__(self, run: Run, make_engine: Callable[[str, ModelConfig], Engine]) -> None:
        self._run = run
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._step = 0
        self._thread: Thread | None = None
        self._loss: Future[float] = Future()

    def ask(self, step: int, params: Flat) -> None:
        """Begin with a step; the one before must have been answered."""
        assert self._thread is None, "two evaluations at once"
        self._step, self._loss = step, Future()
        # A daemon: a process that was asked to leave does not wait for what nobody will read.
        self._thread = Thread(target=self._evaluate, args=(params, self._loss), daemon=True)
        self._thread.start()

    def answer(self) -> events.Evaluated | None:
        """Give what has come of it, once; what went wrong in the thread is raised here."""
        if self._thread is None or not self._loss.done():
            return None
        self._thread = None
        return events.Evaluated(self._step, self._loss.result())

    def _evaluate(self, params: Flat, loss: Future[float]) -> None:
        try:
            if self._engine is None:  # in the thread, since to make one may mean to compile
                self._engine = self._make_engine(self._run.train.engine, self._run.model)
            loss.set_result(held_out_loss(self._engine, params, self._run.held_out))
        except BaseException as error:
            loss.set_exception(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.join(EVALUATION_END_S)


def _event(peer: bytes, frames: list[bytes]) -> events.Event:
    try:
        return events.Received(peer, decode(frames))
    except VersionMismatch as error:
        return events.StrangerArrived(peer, str(error))
    except MalformedFrame as error:
        return events.Garbled(peer, str(error))
