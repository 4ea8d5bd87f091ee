"""Sums and Adam over whole vectors: what fast engines use around their gradients.

Every operation is elementwise and rounded once, as IEEE 754 wants it, so a result depends neither
on where a vector lies in memory nor on what stands beside it. Where numbers leave the floats, a sum
is infinity or NaN, and nobody is warned.
"""

from array import array
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.config import TrainConfig
from engine.gradient import GradientSum
from engine.kernels import adam
from engine.optimizer import Moments, learning_rate
from engine.params import Flat

Vector: TypeAlias = npt.NDArray[np.float64]


def plus(a: GradientSum, b: GradientSum) -> GradientSum:
    """Add two sums, in the memory of the left one; the bits are those of number by number."""
    left = _view(a.grad)
    with np.errstate(all="ignore"):
        np.add(left, _view(b.grad), out=left)
    return GradientSum(a.loss + b.loss, a.grad)


def adam_update(
    config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
) -> tuple[Flat, Moments]:
    """Give the parameters and moments after one step, counted from 0; see `engine.kernels.adam`.

    Raises:
        OverflowError: the update leaves the floats.
    """
    rate = learning_rate(config, step)
    beta1, beta2 = config.beta1, config.beta2
    correction1 = 1 - beta1 ** (step + 1)
    correction2 = 1 - beta2 ** (step + 1)
    new_params, p = _fresh(len(params))
    new_m, m = _fresh(len(params))
    new_v, v = _fresh(len(params))
    is_finite = adam(
        *(_view(params), _view(moments.m), _view(moments.v), _view(grad)),
        *(rate, beta1, beta2, correction1, correction2, config.epsilon),
        *(p, m, v),
    )
    if not is_finite:
        raise OverflowError("the update leaves the floats")
    return new_params, Moments(new_m, new_v)


def _view(vector: Flat) -> Vector:
    return np.frombuffer(vector, dtype=np.float64)


def _fresh(length: int) -> tuple[Flat, Vector]:
    """Make a vector, and a view to write it through."""
    vector = array("d", bytes(8 * length))
    return vector, _view(vector)
