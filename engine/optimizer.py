"""Adam, in scalar Python, exactly as microgpt does it.

Powers stay powers: `x ** 2` and `x ** 0.5` go through pow and differ from x * x and sqrt(x) in last
bits, so `adam_update` belongs to the eager engine and its recorded losses. Faster engines have
`engine.vector`.

Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1.
"""

import math
from array import array
from dataclasses import dataclass

from engine.config import TrainConfig
from engine.params import Flat


@dataclass(frozen=True, slots=True)
class Moments:
    """Adam's running means of the gradient and of its square, each (num_params,)."""

    m: Flat
    v: Flat

    @classmethod
    def zeros(cls, num_params: int) -> "Moments":
        return cls(array("d", bytes(8 * num_params)), array("d", bytes(8 * num_params)))


def learning_rate(config: TrainConfig, step: int) -> float:
    """Give the learning rate of a step, counted from 0.

    `linear` falls to zero over the run, `cosine` along half a cosine, `constant` stays. During
    the first `warmup_steps` it is scaled up from 1 / warmup_steps.
    """
    rate = config.learning_rate
    if config.schedule == "linear":
        rate = rate * (1 - step / config.steps)
    elif config.schedule == "cosine":
        rate = rate * (0.5 * (1 + math.cos(math.pi * step / config.steps)))
    if step < config.warmup_steps:
        rate = rate * ((step + 1) / config.warmup_steps)
    return rate


def adam_update(
    config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
) -> tuple[Flat, Moments]:
    """Give the parameters and moments after one step, counted from 0.

    Raises:
        OverflowError: a gradient's square leaves the floats.
    """
    rate = learning_rate(config, step)
    beta1, beta2 = config.beta1, config.beta2
    correction1 = 1 - beta1 ** (step + 1)
    correction2 = 1 - beta2 ** (step + 1)
    new_params, new_m, new_v = array("d"), array("d"), array("d")
    for p, m, v, g in zip(params, moments.m, moments.v, grad, strict=True):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / correction1
        v_hat = v / correction2
        new_params.append(p - rate * m_hat / (v_hat**0.5 + config.epsilon))
        new_m.append(m)
        new_v.append(v)
    return new_params, Moments(new_m, new_v)
