"""Kernels: one forward and one backward loop for each kind of instruction, and their replay.

A program is data here (see engine.encode), so that these kernels are compiled once for all models
and kept on disk. Values and gradients are blocks of (rows, WIDTH) float64; every loop runs over
rows, and a row is one vector of lanes. Gradients of parameters are added in the order of rows and
lanes: the same documents give the same bits.

No fastmath flag anywhere: with it the compiler might fuse and reorder, and bits would depend on the
processor.
"""

import numpy as np
from numba import config, njit

from engine.elementwise import (
    binary_backward,
    binary_forward,
    give,
    unary_backward,
    unary_forward,
)
from engine.encode import Field, Opcode
from engine.lanes import WIDTH, fill, load, store, where_equal, where_nonzero
from engine.matmul import INLINE, OPTIONS, add_weight_gradients, fold, multiply
from engine.ops import fma, larger

# ---- any number of operands: row i has those from bounds[i] to bounds[i + 1] -------------------


@njit(**OPTIONS)
def _sum(values, places, first, count, a, bounds):
    for i in range(count):
        total = load(values, places[a + places[bounds + i]])
        for k in range(places[bounds + i] + 1, places[bounds + i + 1]):
            total = total + load(values, places[a + k])
        store(values, first + i, total)


@njit(**OPTIONS)
def _sum_back(grads, places, first, count, a, bounds, stores):
    for i in range(count):
        grad = load(grads, first + i)
        for k in range(places[bounds + i], places[bounds + i + 1]):
            give(grads, places[a + k], grad, stores)


@njit(**OPTIONS)
def _dot(values, places, first, count, a, b, bounds):
    for i in range(count):
        total = fill(0.0)
        for k in range(places[bounds + i], places[bounds + i + 1]):
            total = fma(load(values, places[a + k]), load(values, places[b + k]), total)
        store(values, first + i, total)


@njit(**OPTIONS)
def _dot_back(values, grads, places, first, count, a, b, bounds, a_stores, b_stores):
    for i in range(count):
        grad = load(grads, first + i)
        for k in range(places[bounds + i], places[bounds + i + 1]):
            left, right = places[a + k], places[b + k]
            _give_product(grads, left, grad, load(values, right), a_stores)
            _give_product(grads, right, grad, load(values, left), b_stores)


@njit(**INLINE)
def _give_product(grads, row, grad, slope, stores):
    if stores:
        store(grads, row, grad * slope)
    else:
        store(grads, row, fma(grad, slope, load(grads, row)))


@njit(**OPTIONS)
def _max(values, places, first, count, a, bounds):
    for i in range(count):
        largest = load(values, places[a + places[bounds + i]])
        for k in range(places[bounds + i] + 1, places[bounds + i + 1]):
            largest = larger(largest, load(values, places[a + k]))
        store(values, first + i, largest)


# ---- by token ----------------------------------------------------------------------------------


@njit(**OPTIONS)
def _pick(values, places, documents, first, count, a, bounds, tokens):
    for i in range(count):
        candidates, token = a + places[bounds + i], places[tokens + i]
        for lane in range(WIDTH):
            row = places[candidates + int(documents[token, lane])]
            values[first + i, lane] = values[row, lane]


@njit(**OPTIONS)
def _pick_back(grads, places, documents, first, count, a, bounds, tokens, stores):
    for i in range(count):
        grad, chosen = load(grads, first + i), load(documents, places[tokens + i])
        begin = places[bounds + i]
        for k in range(begin, places[bounds + i + 1]):
            share = where_equal(chosen, float(k - begin), grad)
            give(grads, places[a + k], share, stores)


@njit(**OPTIONS)
def _lookup(values, places, params, documents, first, count, a, bounds, tokens):
    for i in range(count):
        candidates, token = a + places[bounds + i], places[tokens + i]
        for lane in range(WIDTH):
            values[first + i, lane] = params[places[candidates + int(documents[token, lane])]]


@njit(**OPTIONS)
def _lookup_back(grads, places, param_grads, documents, first, count, a, bounds, tokens):
    for i in range(count):
        candidates, token = a + places[bounds + i], places[tokens + i]
        for lane in range(WIDTH):
            param = places[candidates + int(documents[token, lane])]
            param_grads[param] += grads[first + i, lane]


# ---- parameters, constants, terms --------------------------------------------------------------


@njit(**OPTIONS)
def _spread(values, places, params, first, count, a):
    for i in range(count):
        store(values, first + i, fill(params[places[a + i]]))


@njit(**OPTIONS)
def _spread_back(grads, places, param_grads, first, count, a):
    for i in range(count):
        param_grads[places[a + i]] += fold(load(grads, first + i))


@njit(**OPTIONS)
def _const(values, first, count, constant):
    for i in range(count):
        store(values, first + i, fill(constant))


@njit(**OPTIONS)
def _terms(values, places, weights, losses, block, count, a):
    total = fill(0.0)
    for t in range(count):
        weight = load(weights, t)
        # Where nothing counts, log(0) may stand: 0 * -inf would be NaN.
        total = fma(weight, where_nonzero(weight, load(values, places[a + t])), total)
    store(losses, block, total)


@njit(**OPTIONS)
def _terms_back(grads, places, weights, count, a, stores):
    for t in range(count):
        give(grads, places[a + t], load(weights, t), stores)


@njit(**OPTIONS)
def _clear(grads, places, count, a):
    for i in range(count):
        store(grads, places[a + i], fill(0.0))


# ---- replay ------------------------------------------------------------------------------------


@njit(**INLINE)
def _matmul(values, params, step):
    first, vectors, columns = step[Field.FIRST], step[Field.VECTORS], step[Field.COLUMNS]
    rows, stores = step[Field.COUNT] // vectors, step[Field.A_STORES] != 0
    one = np.int64(1)  # numba would compile a literal 1 as a variant of its own
    w = (step[Field.WEIGHTS], columns, one)
    x = (step[Field.X], step[Field.X_VECTOR], step[Field.X_COLUMN])
    multiply(values, values, params, w, x, (first, rows, one), vectors, rows, columns, stores)


@njit(**INLINE)
def _matmul_back(values, grads, params, param_grads, step):
    first, vectors, columns = step[Field.FIRST], step[Field.VECTORS], step[Field.COLUMNS]
    rows, stores = step[Field.COUNT] // vectors, step[Field.A_STORES] != 0
    weights, one = step[Field.WEIGHTS], np.int64(1)
    x = (step[Field.X], step[Field.X_VECTOR], step[Field.X_COLUMN])
    add_weight_gradients(values, grads, param_grads, weights, x, first, vectors, rows, columns)
    w = (weights, one, columns)  # transposed
    multiply(grads, grads, params, w, (first, rows, one), x, vectors, columns, rows, stores)


@njit(**INLINE)
def _forward(step, constant, places, params, documents, weights, values, losses, block):
    op, first, count = step[Field.OP], step[Field.FIRST], step[Field.COUNT]
    a, b, bounds, tokens = step[Field.A], step[Field.B], step[Field.BOUNDS], step[Field.TOKENS]
    if op <= Opcode.RELU:
        unary_forward(op, values, places, first, count, a, constant)
    elif op <= Opcode.MUL:
        binary_forward(op, values, places, first, count, a, b)
    elif op == Opcode.MATMUL:
        _matmul(values, params, step)
    elif op == Opcode.DOT:
        _dot(values, places, first, count, a, b, bounds)
    elif op == Opcode.SUM:
        _sum(values, places, first, count, a, bounds)
    elif op == Opcode.MAX:
        _max(values, places, first, count, a, bounds)
    elif op == Opcode.PICK:
        _pick(values, places, documents, first, count, a, bounds, tokens)
    elif op == Opcode.LOOKUP:
        _lookup(values, places, params, documents, first, count, a, bounds, tokens)
    elif op == Opcode.SPREAD:
        _spread(values, places, params, first, count, a)
    elif op == Opcode.CONST:
        _const(values, first, count, constant)
    elif op == Opcode.TERMS:
        _terms(values, places, weights, losses, block, count, a)


@njit(**INLINE)
def _backward(step, constant, places, params, documents, weights, values, grads, param_grads):
    op, first, count = step[Field.OP], step[Field.FIRST], step[Field.COUNT]
    a, b, bounds, tokens = step[Field.A], step[Field.B], step[Field.BOUNDS], step[Field.TOKENS]
    a_stores, b_stores = step[Field.A_STORES] != 0, step[Field.B_STORES] != 0
    if op <= Opcode.RELU:
        unary_backward(op, values, grads, places, first, count, a, constant, a_stores)
    elif op <= Opcode.MUL:
        binary_backward(op, values, grads, places, first, count, a, b, a_stores, b_stores)
    elif op == Opcode.MATMUL:
        _matmul_back(values, grads, params, param_grads, step)
    elif op == Opcode.DOT:
        _dot_back(values, grads, places, first, count, a, b, bounds, a_stores, b_stores)
    elif op == Opcode.SUM:
        _sum_back(grads, places, first, count, a, bounds, a_stores)
    elif op == Opcode.PICK:
        _pick_back(grads, places, documents, first, count, a, bounds, tokens, a_stores)
    elif op == Opcode.LOOKUP:
        _lookup_back(grads, places, param_grads, documents, first, count, a, bounds, tokens)
    elif op == Opcode.SPREAD:
        _spread_back(grads, places, param_grads, first, count, a)
    elif op == Opcode.TERMS:
        _terms_back(grads, places, weights, count, a, a_stores)
    elif op == Opcode.CLEAR:
        _clear(grads, places, count, a)


@njit(**OPTIONS)
def _seat(tokens, bounds, first, documents, weights):
    """Give each document from `first` on a lane; return the positions of the longest.

    An empty lane, and what is beyond a document's end, has token 0 and weight 0.
    """
    documents[:] = 0.0
    weights[:] = 0.0
    longest = 0
    for lane in range(min(WIDTH, len(bounds) - 1 - first)):
        begin, end = bounds[first + lane], bounds[first + lane + 1]
        positions = end - begin - 1
        longest = max(longest, positions)
        for t in range(positions + 1):
            documents[t, lane] = tokens[begin + t]
        for t in range(positions):
            weights[t, lane] = 1.0 / positions
    return longest


@njit(error_model="numpy", nogil=True)
def replay(
    spans, code, constants, places, program_of, params, tokens, bounds, documents, weights, values,
    grads, param_grads, losses, is_backward,
):  # fmt: skip
    """Replay a shard: for each eight of its documents, a program forward and backward.

    Args:
        spans, code, constants, places: a Library.
        program_of: (positions + 1,) which program a number of positions needs.
        params: (num_params,)
        tokens: int64, the documents' token ids one after the other.
        bounds: (documents + 1,) int64, where each document begins.
        documents: (tokens, WIDTH), weights: (positions, WIDTH), values, grads: (rows, WIDTH), all
            of the largest program: memory to compute in.
        param_grads: (num_params,), added to; untouched unless `is_backward`.
        losses: (blocks, WIDTH), each document's mean loss.
    """
    for block in range(len(losses)):
        longest = _seat(tokens, bounds, block * WIDTH, documents, weights)
        forward, backward, end = spans[program_of[longest]]
        for s in range(forward, backward):
            _forward(
                code[s], constants[s], places, params, documents, weights, values, losses, block
            )
        if is_backward:
            for s in range(backward, end):
                _backward(
                    code[s], constants[s], places, params, documents, weights, values, grads,
                    param_grads,
                )  # fmt: skip


@njit(error_model="numpy", nogil=True)
def adam(
    params, m, v, grad, rate, beta1, beta2, correction1, correction2, epsilon,
    new_params, new_m, new_v,
):  # fmt: skip
    """Apply one step of Adam to vectors, (num_params,) each, and write what comes of it.

    The formulas and their order are those of `engine.optimizer`, but a square is g * g and a root
    is sqrt, so last bits differ from its powers.

    Returns:
        Whether all of it is finite.
    """
    is_finite = True
    for i in range(len(params)):
        g = grad[i]
        mean = beta1 * m[i] + (1 - beta1) * g
        square = beta2 * v[i] + (1 - beta2) * (g * g)
        step = rate * (mean / correction1) / (np.sqrt(square / correction2) + epsilon)
        param = params[i] - step
        new_m[i], new_v[i], new_params[i] = mean, square, param
        is_finite &= np.isfinite(mean) and np.isfinite(square) and np.isfinite(param)
    return is_finite


def keep_compiled(directory: str) -> None:
    """Keep what numba compiles in a directory, which must exist and be writable, and use what is
    kept there. Call before the first replay, and the first update."""
    config.CACHE_DIR = directory
    replay.enable_caching()
    adam.enable_caching()


def kernel_target() -> str:
    """Name the processor, as far as compiled kernels depend on it."""
    return repr(replay.targetctx.codegen().magic_tuple())
