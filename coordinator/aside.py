"""What the coordinator computes itself, beside its loop: held-out losses, its fingerprint, and the
branches that workers disagree on. One thread, one engine, one job after another."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self, TypeAlias

import numpy as np

from coordinator import events
from coordinator.effects import Evaluate, Probe, Recompute
from coordinator.leases import BranchSum
from engine.branch import sum_branch
from engine.config import ModelConfig
from engine.evaluate import held_out_loss
from engine.fingerprint import fingerprint
from engine.gradient import Engine
from engine.run import Run

END_S = 1.0  # that a coordinator which leaves waits for what nobody awaits

Job: TypeAlias = Evaluate | Probe | Recompute
Answer: TypeAlias = events.Evaluated | events.Probed | events.Recomputed


class Aside:
    """A thread that computes: a daemon, for no process should stay for what nobody will read."""

    def __init__(self, run: Run, make_engine: Callable[[str, ModelConfig], Engine]) -> None:
        """Begin without a thread.

        Args:
            make_engine: gives the engine of a name; called in the thread, since that may compile.
        """
        self._run = run
        self._make_engine = make_engine
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._thread: Thread | None = None

    def ask(self, job: Job) -> None:
        """Have a job done after those before it."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = Thread(target=self._work, daemon=True)
            self._thread.start()

    def answers(self) -> Iterator[Answer]:
        """Give what has come of jobs, each once; what went wrong in the thread is raised here."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except Empty:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def _work(self) -> None:
        try:
            engine = self._make_engine(self._run.train.engine, self._run.model)
            while (job := self._jobs.get()) is not None:
                self._answers.put(self._do(engine, job))
        except BaseException as error:
            self._answers.put(error)

    def _do(self, engine: Engine, job: Job) -> Answer:
        run = self._run
        match job:
            case Probe():
                return events.Probed(fingerprint(engine, run.model))
            case Evaluate(step, params):
                return events.Evaluated(step, held_out_loss(engine, params, run.held_out))
            case Recompute(dispute, branch, params, documents):
                total = sum_branch(engine, run.work, params, documents, branch)
                return events.Recomputed(dispute, BranchSum(total.loss, np.frombuffer(total.grad)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(END_S)
