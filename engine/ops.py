"""The operations of a graph: what each computes and how each is differentiated, side by side.

Everything that interprets a graph reads this table: `engine.graph` evaluates it on plain floats,
`engine.kernels` compiles the same functions for eight documents at once.

Prior art: the rule tables of JAX's autodidax, keyed by primitive.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def fma(a: Any, b: Any, c: Any) -> Any:
    """Give a * b + c; lanes round once, plain floats twice."""
    return a * b + c


def larger(a: Any, b: Any) -> Any:
    return b if b > a else a


def positive(x: Any) -> Any:
    return 1.0 if x > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Unary:
    """y = forward(x, c) for an operand x and a constant c; slope(x, y, c) is dy/dx."""

    forward: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Binary:
    """y = forward(a, b); slope_a(a, b) is dy/da, slope_b(a, b) is dy/db."""

    forward: Callable[[Any, Any], Any]
    slope_a: Callable[[Any, Any], Any]
    slope_b: Callable[[Any, Any], Any]


UNARY: Mapping[str, Unary] = {
    "scale": Unary(lambda x, c: x * c, lambda x, y, c: c),
    "shift": Unary(lambda x, c: x + c, lambda x, y, c: 1.0),
    "pow": Unary(lambda x, c: x**c, lambda x, y, c: c * x ** (c - 1)),
    "square": Unary(lambda x, c: x * x, lambda x, y, c: 2.0 * x),
    "sqrt": Unary(lambda x, c: math.sqrt(x), lambda x, y, c: 0.5 / y),
    "reciprocal": Unary(lambda x, c: 1.0 / x, lambda x, y, c: -(y * y)),
    "rsqrt": Unary(lambda x, c: 1.0 / math.sqrt(x), lambda x, y, c: -0.5 * (y / x)),
    "exp": Unary(lambda x, c: math.exp(x), lambda x, y, c: y),
    "log": Unary(lambda x, c: math.log(x), lambda x, y, c: 1.0 / x),
    "relu": Unary(lambda x, c: larger(0.0, x), lambda x, y, c: positive(x)),
}

BINARY: Mapping[str, Binary] = {
    "add": Binary(lambda a, b: a + b, lambda a, b: 1.0, lambda a, b: 1.0),
    "sub": Binary(lambda a, b: a - b, lambda a, b: 1.0, lambda a, b: -1.0),
    "mul": Binary(lambda a, b: a * b, lambda a, b: b, lambda a, b: a),
}
