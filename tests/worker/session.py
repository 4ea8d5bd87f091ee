"""A worker's machine brought to a phase, and what a coordinator says to it there."""

import random
from typing import Any

from engine.config import ModelConfig, WorkConfig
from engine.params import from_bytes
from wire.digest import params_digest
from wire.messages import (
    Hello,
    Message,
    Ready,
    Task,
    Welcome,
)
from wire.payload import join, pack
from worker import events
from worker.effects import Compute, Effect, Send
from worker.state import Identity, WorkerState

RUN = "5f" * 16
SESSION = (RUN, 4, 7)
ADDRESS = "tcp://127.0.0.1:5555"
WORK = WorkConfig("eager", 4, 2, ModelConfig(3, n_embd=1, n_head=1, block_size=3))
HELLO = Hello(2, "w-1", "host", 11, "versions")
WELCOME = Welcome(2, *SESSION, WORK.to_json(), 1.0)
PARAMS = bytes(8 * WORK.model.num_params)
DIGEST = params_digest(PARAMS)
DOCUMENTS = [(2, 0, 2), (2, 1, 2)]


def worker(max_idle_s: float | None = None) -> WorkerState:
    return WorkerState(
        Identity("w-1", "host", 11, "versions"), ADDRESS, max_idle_s, random.Random(1)
    )


def greeting(now: float = 0.0, max_idle_s: float | None = None) -> WorkerState:
    state = worker(max_idle_s)
    state.start(now)
    state.handle(events.Opened(), now)
    return state


def working(now: float = 0.0, max_idle_s: float | None = None) -> WorkerState:
    state = greeting(now, max_idle_s)
    receive(state, WELCOME, now)
    state.handle(events.Prepared(0.25, "f1"), now)
    return state


def receive(state: WorkerState, message: Message, now: float = 0.0) -> list[Effect]:
    return state.handle(events.Received(message), now)


def task(lease: int = 1, params: bytes = PARAMS, **fields: Any) -> Task:
    values = {"step": 0, "lo": 0, "hi": 1, "params_digest": DIGEST, "num_documents": 2, **fields}
    payload = join([*map(pack, DOCUMENTS)])
    return Task(*SESSION, lease=lease, params=params, **{"payload": payload, **values})


def compute(lo: int = 0, hi: int = 1) -> Compute:
    return Compute(lo, hi, from_bytes(PARAMS), DOCUMENTS)


def ready(params: str = "") -> Send:
    return Send(Ready(*SESSION, WORK.digest, "f1", params, 0.25))


def kinds(effects: list[Effect]) -> list[type]:
    return [type(e.message) if isinstance(e, Send) else type(e) for e in effects]
