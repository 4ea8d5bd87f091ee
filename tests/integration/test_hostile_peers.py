"""Peers that send anything to a coordinator while it trains: it neither dies, grows nor errs.

Some send frames that are no messages; some know the protocol, join, and then lie in fields that a
coordinator must judge. What none of them does is to answer a task rightly with other numbers: that
is a worker that lies, which has trials of its own.
"""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import zmq

from engine.config import WorkConfig
from engine.engines import engine_of
from engine.fingerprint import fingerprint
from tests.integration.callers import Callers
from tests.integration.crew import STEPS, Crew
from tests.integration.flock import Lab
from tests.integration.oracle import Job
from tests.memory import rss_bytes
from tests.trials import trials
from tests.wire.hostile import hostile, plausible
from wire.codec import decode, encode
from wire.messages import Bye, Grad, Hello, Ping, Pong, Progress, Ready, Task, Welcome

pytestmark = pytest.mark.integration

JOB = Job(steps=STEPS, batch_size=64, n_embd=4, n_head=2, engine="compiled")
SEED = 4
STRANGERS = 8
STEPS_MIN = 3  # that must be committed meanwhile: training goes on
WARM_UP = 500  # messages, until everything that is kept once is there
GROWTH_BYTES_MAX = 16 * 1024 * 1024


class Stranger:
    """One peer that is none of ours."""

    def __init__(self, callers: Callers, rng: random.Random) -> None:
        self._caller = callers.dealer()
        self._rng = rng
        self._welcome: Welcome | None = None
        self._task: Task | None = None
        self._caller.send_multipart(self._hello())
        while self._welcome is None:
            self._hear(self._caller.recv_multipart())

    def act(self, sent: Counter[str]) -> None:
        """Listen to what was said, and send one message; count what it was."""
        self._listen()
        what, frames = self._message()
        self._caller.send_multipart(frames or [b""])
        sent[what] += 1

    def _message(self) -> tuple[str, list[bytes]]:
        if self._rng.random() < 0.5:
            return "noise", hostile(self._rng)
        if self._welcome is None or self._rng.random() < 0.1:
            return "Hello", self._hello()
        kind = self._rng.choice((Ready, Ready, Grad, Grad, Grad, Progress, Ping, Pong, Bye))
        return kind.__name__, encode(self._lie(kind, self._welcome))

    def hang_up(self) -> None:
        self._caller.close(linger=0)

    def _hello(self) -> list[bytes]:
        name = f"stranger-{self._rng.getrandbits(32):08x}"
        return encode(plausible(Hello, self._rng, v=2, name=name))

    def _listen(self) -> None:
        with suppress(zmq.Again):
            while True:
                self._hear(self._caller.recv_multipart(zmq.NOBLOCK))

    def _hear(self, frames: list[bytes]) -> None:
        match decode(frames):
            case Welcome() as welcome:
                self._welcome, self._task = welcome, None
            case Task() as task:
                self._task = task

    def _lie(self, kind: type[Any], welcome: Welcome) -> Any:
        session = {name: getattr(welcome, name) for name in ("run", "gen", "sid")}
        message = plausible(kind, self._rng, **session)
        if kind is Ready and self._rng.random() < 0.7:
            config_hash, digest = credentials(welcome.config)
            return replace(message, config_hash=config_hash, fingerprint=digest)
        if kind is Grad and self._task is not None:
            task = self._task
            names = ("step", "lo", "hi", "lease", "params_digest")
            right = {name: getattr(task, name) for name in names}
            # All but one right; and never the length of a gradient, or it would be one.
            del right[self._rng.choice(names)]
            return replace(message, **right, payload=message.payload[:-1])
        return message


@cache
def credentials(config: str) -> tuple[str, str]:
    """Give what READY must say for a worker to be given work."""
    work = WorkConfig.from_json(config)
    return work.digest, fingerprint(engine_of(work.engine, work.model), work.model)


@trials(gate=1000, long=100_000, soak=500_000)
def test_hostile_peers_cost_a_training_run_neither_a_bit_nor_its_memory(
    lab: Lab, count: int
) -> None:
    """The port is open to whoever can reach it, for as long as the run takes."""
    rng = random.Random(SEED)
    sent: Counter[str] = Counter()
    committed = 0  # steps, while that was sent
    # Strangers take work and hang up: for a coordinator, as if they had died of it.
    crew = Crew(lab, JOB, "--max-losses=1000000", is_warm=False)
    crew.coordinator.wait_until_it_says("coordinator at")
    names = crew.hire_and_wait(2)
    crew.wait_for_step(crew.steps + 50)
    with Callers(crew.address) as callers:
        strangers = [Stranger(callers, rng) for _ in range(STRANGERS)]
        send(strangers, WARM_UP, rng, Counter())
        before_bytes, peak_bytes = rss_bytes(crew.coordinator.pid), 0
        while sent.total() < count or committed < STEPS_MIN:
            step = crew.steps
            send(strangers, 100, rng, sent)
            committed += crew.steps - step
            peak_bytes = max(peak_bytes, rss_bytes(crew.coordinator.pid))
            at = rng.randrange(STRANGERS)
            strangers[at].hang_up()
            strangers[at] = Stranger(callers, rng)
            assert crew.coordinator.is_running, crew.coordinator.stderr
        crew.wait_for_step(crew.steps + 50)  # after all that was sent
        peak_bytes = max(peak_bytes, rss_bytes(crew.coordinator.pid))

    assert peak_bytes - before_bytes < GROWTH_BYTES_MAX
    assert min(sent[kind.__name__] for kind in (Ready, Grad, Bye)) > count / 100
    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(names)


def send(strangers: list[Stranger], count: int, rng: random.Random, sent: Counter[str]) -> None:
    for _ in range(count):
        rng.choice(strangers).act(sent)
