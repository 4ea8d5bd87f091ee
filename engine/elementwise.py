"""Kernels of the operations with one operand or two, made from the table of operations.

The functions of `engine.ops` are compiled for lanes as they stand there. A backward loop passes on
gradient times slope; the first writer of a row stores, the others add (see engine.adjoint).
"""

from numba import njit

from engine.encode import Opcode
from engine.lanes import load, store, where_nonzero
from engine.matmul import INLINE, OPTIONS
from engine.ops import BINARY, UNARY


@njit(**INLINE)
def give(grads, row, share, stores):
    """Pass a share of a gradient on: the first writer of a row stores."""
    if stores:
        store(grads, row, share)
    else:
        store(grads, row, load(grads, row) + share)


def _unary(name):
    return njit(UNARY[name].forward, **INLINE), njit(UNARY[name].slope, **INLINE)


def _binary(name):
    op = BINARY[name]
    return tuple(njit(function, **INLINE) for function in (op.forward, op.slope_a, op.slope_b))


_scale, _scale_slope = _unary("scale")
_shift, _shift_slope = _unary("shift")
_pow, _pow_slope = _unary("pow")
_square, _square_slope = _unary("square")
_sqrt, _sqrt_slope = _unary("sqrt")
_reciprocal, _reciprocal_slope = _unary("reciprocal")
_rsqrt, _rsqrt_slope = _unary("rsqrt")
_exp, _exp_slope = _unary("exp")
_log, _log_slope = _unary("log")
_relu, _relu_slope = _unary("relu")
_add, _add_slope_a, _add_slope_b = _binary("add")
_sub, _sub_slope_a, _sub_slope_b = _binary("sub")
_mul, _mul_slope_a, _mul_slope_b = _binary("mul")


# A choice by number, written out: numba cannot look a function up. The last of each needs no test;
# a test holds every operation of the table against it.


@njit(**INLINE)
def _unary_value(op, x, c):
    if op == Opcode.SCALE:
        return _scale(x, c)
    if op == Opcode.SHIFT:
        return _shift(x, c)
    if op == Opcode.POW:
        return _pow(x, c)
    if op == Opcode.SQUARE:
        return _square(x, c)
    if op == Opcode.SQRT:
        return _sqrt(x, c)
    if op == Opcode.RECIPROCAL:
        return _reciprocal(x, c)
    if op == Opcode.RSQRT:
        return _rsqrt(x, c)
    if op == Opcode.EXP:
        return _exp(x, c)
    if op == Opcode.LOG:
        return _log(x, c)
    return _relu(x, c)


@njit(**INLINE)
def _unary_share(op, grad, x, y, c):
    if op == Opcode.SCALE:
        return grad * _scale_slope(x, y, c)
    if op == Opcode.SHIFT:
        return grad * _shift_slope(x, y, c)
    if op == Opcode.POW:
        return grad * _pow_slope(x, y, c)
    if op == Opcode.SQUARE:
        return grad * _square_slope(x, y, c)
    if op == Opcode.SQRT:
        return grad * _sqrt_slope(x, y, c)
    if op == Opcode.RECIPROCAL:
        return grad * _reciprocal_slope(x, y, c)
    if op == Opcode.RSQRT:
        return grad * _rsqrt_slope(x, y, c)
    if op == Opcode.EXP:
        return grad * _exp_slope(x, y, c)
    if op == Opcode.LOG:
        return grad * _log_slope(x, y, c)
    return grad * _relu_slope(x, y, c)


@njit(**OPTIONS)
def unary_forward(op, values, places, first, count, a, constant):
    for i in range(count):
        store(values, first + i, _unary_value(op, load(values, places[a + i]), constant))


@njit(**OPTIONS)
def unary_backward(op, values, grads, places, first, count, a, constant, stores):
    for i in range(count):
        row = places[a + i]
        x, y, grad = load(values, row), load(values, first + i), load(grads, first + i)
        # No gradient stays none, where the slope is infinite too: beyond a document's end, log(0).
        share = where_nonzero(grad, _unary_share(op, grad, x, y, constant))
        give(grads, row, share, stores)


@njit(**OPTIONS)
def binary_forward(op, values, places, first, count, a, b):
    for i in range(count):
        x, y = load(values, places[a + i]), load(values, places[b + i])
        if op == Opcode.ADD:
            store(values, first + i, _add(x, y))
        elif op == Opcode.SUB:
            store(values, first + i, _sub(x, y))
        else:
            store(values, first + i, _mul(x, y))


@njit(**OPTIONS)
def binary_backward(op, values, grads, places, first, count, a, b, a_stores, b_stores):
    for i in range(count):
        left, right = places[a + i], places[b + i]
        x, y, grad = load(values, left), load(values, right), load(grads, first + i)
        if op == Opcode.ADD:
            give(grads, left, grad * _add_slope_a(x, y), a_stores)
            give(grads, right, grad * _add_slope_b(x, y), b_stores)
        elif op == Opcode.SUB:
            give(grads, left, grad * _sub_slope_a(x, y), a_stores)
            give(grads, right, grad * _sub_slope_b(x, y), b_stores)
        else:
            give(grads, left, grad * _mul_slope_a(x, y), a_stores)
            give(grads, right, grad * _mul_slope_b(x, y), b_stores)
