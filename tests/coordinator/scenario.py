"""A coordinator's machine with a tiny run, and hands that compute what it leases out.

Every event is followed by `check()`. Gradients are those of the production worker, remembered, so
that hundreds of runs cost as much as one.
"""

import random
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from coordinator import events
from coordinator.effects import Continue, Effect, Finish, Probe, Save, Send, Tell
from coordinator.evaluations import Evaluations
from coordinator.settings import CheckpointEvery, Settings
from coordinator.state import CoordinatorState
from coordinator.training import Training
from engine.branch import sum_branch
from engine.config import TrainConfig, WorkConfig
from engine.eager import Eager
from engine.fingerprint import fingerprint
from engine.optimizer import Moments
from engine.packed import PackedDocuments
from engine.params import from_bytes, to_bytes
from engine.reference import train
from engine.run import Run, prepare_run
from wire.messages import Grad, Hello, Message, Ready, Result, Task, Welcome
from wire.payload import unpack

TEXTS = ["abba", "ba", "a", "bab", "aab", "b", "abab"]
SHAPE = {"n_embd": 1, "n_head": 1, "block_size": 3}
RUN = "5f" * 16
SELDOM = CheckpointEvery(steps=1_000_000)

E = TypeVar("E")


def small_run(steps: int = 3, batch_size: int = 6, shards: int = 5, **train: Any) -> Run:
    return prepare_run(TEXTS, TrainConfig(steps, batch_size, shards, **train), SHAPE)


def work_of(run: Run) -> WorkConfig:
    return WorkConfig(run.train.engine, run.train.batch_size, run.train.shards, run.model)


def training_of(run: Run) -> Training:
    return Training(run, Eager(run.model), 0, run.params, Moments.zeros(run.model.num_params), None)


def fingerprint_of(run: Run) -> str:
    return fingerprint(Eager(run.model), run.model)


class Hand:
    """Computes tasks as a worker does, wherever it sits."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._params: dict[str, bytes] = {}
        self._known: dict[tuple[str, int, int], Grad] = {}

    def take(self, task: Task) -> list[tuple[int, ...]]:
        """Keep the parameters, if the task brings some, and give its documents."""
        if task.params:
            self._params[task.params_digest] = task.params
        return [*PackedDocuments.of_arrays(*unpack(task.payload, task.num_documents))]

    def compute(self, task: Task) -> Grad:
        documents = self.take(task)
        key = (task.params_digest, task.lo, task.hi)
        if key not in self._known:
            vector = from_bytes(self._params[task.params_digest])
            branch = (task.lo, task.hi)
            total = sum_branch(
                Eager(self._run.model), work_of(self._run), vector, documents, branch
            )
            self._known[key] = Grad(
                run=task.run,
                gen=task.gen,
                sid=task.sid,
                step=task.step,
                lo=task.lo,
                hi=task.hi,
                lease=task.lease,
                params_digest=task.params_digest,
                loss_sum=total.loss,
                queued_s=0.0,
                compute_s=0.1,
                payload=to_bytes(total.grad),
            )
        return replace(self._known[key], sid=task.sid, step=task.step, lease=task.lease)


class Scenario:
    """One generation of a run whose every event is followed by `check()`.

    Attributes:
        seen: every effect so far.
        welcomes: the newest WELCOME of each peer.
        now: until when `wait` has waited.
    """

    def __init__(
        self,
        run: Run,
        every: CheckpointEvery = SELDOM,
        durable_step: int = 0,
        training: Training | None = None,
        hand: Hand | None = None,
        evaluations: Evaluations | None = None,
        settings: Settings | None = None,
        contributors: Mapping[str, int] | None = None,
        fingerprint: str = "",
    ) -> None:
        self.run = run
        self.hand = hand or Hand(run)
        self.training = training or training_of(run)
        self.now = self._clock_s = 0.0
        self.state = CoordinatorState(
            training=self.training,
            work=work_of(run),
            settings=settings or Settings(every),
            run=RUN,
            gen=4,
            durable_step=durable_step,
            rng=random.Random(1),
            evaluations=evaluations or Evaluations(bool(run.held_out)),
            contributors=contributors or {},
            fingerprint=fingerprint,
            clock=lambda: self._clock_s,
        )
        self.seen: list[Effect] = []
        self.welcomes: dict[bytes, Welcome] = {}
        self.handle(events.Started())
        self.probe = only(Probe, self.seen)
        self.seen = [effect for effect in self.seen if not isinstance(effect, Probe)]
        self.handle(events.Probed(fingerprint_of(run)))

    def handle(self, event: events.Event, now: float = 0.0) -> list[Effect]:
        self._clock_s = now
        effects = self.state.handle(event, now)
        self.state.check()
        while Continue() in effects:  # in its place is what follows from it
            place = effects.index(Continue())
            effects[place : place + 1] = self.state.handle(events.Continued(), now)
            self.state.check()
        self.seen += effects
        for send in only(Send, effects):
            if isinstance(send.message, Task):
                self.hand.take(send.message)
        return effects

    def wait(self, until: float) -> list[Effect]:
        """Let time pass as the service does, which looks up many times a second."""
        effects: list[Effect] = []
        while self.now < until:
            self.now = min(until, self.now + 0.05)
            effects += self.handle(events.Ticked(), self.now)
        return effects

    def receive(self, peer: bytes, message: Message, now: float = 0.0) -> list[Effect]:
        return self.handle(events.Received(peer, message), now)

    def hello(self, peer: bytes, now: float = 0.0) -> Welcome:
        name = f"w{peer.decode()}"
        effects = self.receive(peer, Hello(2, name, "host", 11, "versions"), now)
        self.welcomes[peer] = next(m for m in sent(effects, peer) if isinstance(m, Welcome))
        return self.welcomes[peer]

    def ready(self, peer: bytes, now: float = 0.0, **fields: Any) -> list[Effect]:
        values = {
            "config_hash": work_of(self.run).digest,
            "fingerprint": fingerprint_of(self.run),
            "params_digest": "",
            "document_s": 0.01,
            **fields,
        }
        return self.receive(peer, Ready(RUN, 4, self.welcomes[peer].sid, **values), now)

    def join(self, peer: bytes, now: float = 0.0, **fields: Any) -> list[Task]:
        self.hello(peer, now)
        return tasks(self.ready(peer, now, **fields), peer)

    def answer(self, peer: bytes, task: Task, now: float = 0.0, **fields: Any) -> list[Effect]:
        return self.receive(peer, replace(self.hand.compute(task), **fields), now)

    def work(self, peer: bytes, queue: list[Task]) -> None:
        """Answer tasks, and those that come of it, until the run wants no more."""
        queue = list(queue)
        while queue:
            queue += tasks(self.answer(peer, queue.pop(0)), peer)


def only(kind: type[E], effects: list[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def sent(effects: list[Effect], peer: bytes) -> list[Message]:
    return [send.message for send in only(Send, effects) if send.peer == peer]


def tasks(effects: list[Effect], peer: bytes) -> list[Task]:
    return [message for message in sent(effects, peer) if isinstance(message, Task)]


def told(effects: list[Effect]) -> list[Any]:
    return [tell.fact for tell in only(Tell, effects)]


def final_save(scenario: Scenario) -> Save:
    return only(Save, scenario.seen)[-1]


def is_finished(scenario: Scenario) -> bool:
    return bool(only(Finish, scenario.seen))


def reference(run: Run) -> list[tuple[float, bytes]]:
    return [(loss, to_bytes(params)) for loss, params in train(run, Eager(run.model))]


def vector_of(scenario: Scenario, value: float) -> bytes:
    return to_bytes(array("d", [value] * scenario.run.model.num_params))


def result(task: Task, status: str) -> Result:
    return Result(RUN, 4, task.sid, task.step, task.lo, task.hi, status)
