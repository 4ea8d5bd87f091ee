"""Sums and Adam over whole vectors, in numpy: what fast engines use around their gradients.

Every operation is elementwise and rounded once, as IEEE 754 wants it, so a result depends neither
on where a vector lies in memory nor on what stands beside it. Where numbers leave the floats the
results are infinity or NaN; nothing is raised and nobody is warned.
"""

from array import array
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.config import TrainConfig
from engine.gradient import GradientSum
from engine.optimizer import Moments, learning_rate
from engine.params import Flat

Vector: TypeAlias = npt.NDArray[np.float64]


def plus(a: GradientSum, b: GradientSum) -> GradientSum:
    """Add two sums; the bits are those of adding number by number."""
    grad, total = _fresh(len(a.grad))
    with np.errstate(all="ignore"):
        np.add(_view(a.grad), _view(b.grad), out=total)
    return GradientSum(a.loss + b.loss, grad)


def adam_update(
    config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
) -> tuple[Flat, Moments]:
    """Give the parameters and moments after one step, counted from 0.

    The formulas and their order are those of `engine.optimizer`, but a square is g * g and a root
    is sqrt, so last bits differ from its powers.
    """
    rate = learning_rate(config, step)
    beta1, beta2 = config.beta1, config.beta2
    correction1 = 1 - beta1 ** (step + 1)
    correction2 = 1 - beta2 ** (step + 1)
    g = _view(grad)
    new_params, p = _fresh(len(params))
    new_m, m = _fresh(len(params))
    new_v, v = _fresh(len(params))
    with np.errstate(all="ignore"):
        np.add(beta1 * _view(moments.m), (1 - beta1) * g, out=m)
        np.add(beta2 * _view(moments.v), (1 - beta2) * (g * g), out=v)
        m_hat = m / correction1
        v_hat = v / correction2
        np.subtract(_view(params), rate * m_hat / (np.sqrt(v_hat) + config.epsilon), out=p)
    return new_params, Moments(new_m, new_v)


def _view(vector: Flat) -> Vector:
    return np.frombuffer(vector, dtype=np.float64)


def _fresh(length: int) -> tuple[Flat, Vector]:
    """Make a vector, and a view to write it through."""
    vector = array("d", bytes(8 * length))
    return vector, _view(vector)
