"""What the simulated runs compute: production arithmetic on a tiny model, remembered.

A gradient is a pure function of parameters and documents, so each is computed once in a process,
however many seeds need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.config import TrainConfig
from engine.eager import Eager
from engine.gradient import Engine, GradientSum
from engine.optimizer import Moments
from engine.params import Flat, to_bytes
from engine.reference import train
from engine.run import Run, prepare_run
from engine.shards import Tokens

TEXTS = ["abba", "ba", "a", "bab", "aab", "b", "abab"]
SHAPE = {"n_embd": 1, "n_head": 1, "block_size": 3}
BATCH_SIZE = 6
SHARDS = 5
SUMS_MAX = 20_000  # that are remembered; lies make parameters that no other run has


class Remembering(Eager):
    """The eager engine, with a memory."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.model)
        self._sums: dict[tuple[bytes, tuple[Tokens, ...]], GradientSum] = {}
        self._updates: dict[tuple[object, ...], tuple[Flat, Moments]] = {}

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        key = params.tobytes(), tuple(map(tuple, documents))
        if key not in self._sums:
            if len(self._sums) > SUMS_MAX:
                self._sums.clear()
            self._sums[key] = super().gradient(params, documents)
        return self._sums[key]

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        vectors = params, moments.m, moments.v, grad
        key = step, *(vector.tobytes() for vector in vectors)
        if key not in self._updates:
            if len(self._updates) > SUMS_MAX:
                self._updates.clear()
            self._updates[key] = super().update(config, step, params, moments, grad)
        return self._updates[key]


@dataclass(frozen=True, slots=True)
class Oracle:
    """One run, and what a single process makes of it.

    Attributes:
        losses: after so many updates; none before the first.
        params: after so many updates, as bytes.
    """

    run: Run
    engine: Engine
    losses: list[float | None]
    params: list[bytes]


@lru_cache
def oracle(steps: int) -> Oracle:
    run = prepare_run(TEXTS, TrainConfig(steps, BATCH_SIZE, SHARDS, engine="eager"), SHAPE)
    engine = Remembering(run)
    truth = list(train(run, engine))
    losses = [None, *(loss for loss, _ in truth)]
    params = [to_bytes(run.params), *(to_bytes(params) for _, params in truth)]
    return Oracle(run, engine, losses, params)
