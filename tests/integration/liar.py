"""A worker whose gradients are wrong in the last bits, now and then: bad memory, or bad intent.

Everything else about it is a real worker's: it knows the protocol, its digests are right, and it is
honest until it has been let in and is trusted.
Run as `python -m tests.integration.liar worker ...`.
"""

import random
from array import array
from collections.abc import Sequence

import cli.worker
from cli.kernels import Say, make_engine
from cli.main import main
from engine.config import ModelConfig, TrainConfig
from engine.gradient import Engine, GradientSum
from engine.optimizer import Moments
from engine.params import Flat
from engine.shards import Tokens

HONEST_GRADIENTS = 100  # more than a fingerprint takes, and a few steps
LIES = 0.2  # of the gradients after those
FACTOR = 1 + 1e-9  # no loss curve shows it


class Liar:
    """An engine that lies."""

    def __init__(self, honest: Engine) -> None:
        self._honest = honest
        self._rng = random.Random(1)
        self._gradients = 0

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        truth = self._honest.gradient(params, documents)
        self._gradients += 1
        if self._gradients <= HONEST_GRADIENTS or self._rng.random() >= LIES:
            return truth
        return GradientSum(truth.loss, array("d", (value * FACTOR for value in truth.grad)))

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        return self._honest.portions(documents)

    def probe_lengths(self) -> Sequence[int]:
        return self._honest.probe_lengths()

    def losses(self, params: Flat, documents: Sequence[Tokens]) -> list[float]:
        return self._honest.losses(params, documents)

    def plus(self, a: GradientSum, b: GradientSum) -> GradientSum:
        return self._honest.plus(a, b)

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        return self._honest.update(config, step, params, moments, grad)


def make_lying_engine(name: str, model: ModelConfig, say: Say) -> Engine:
    return Liar(make_engine(name, model, say))


if __name__ == "__main__":
    cli.worker.make_engine = make_lying_engine
    main()
