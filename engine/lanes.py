"""Lanes: eight float64 side by side, as a type that compiled kernels compute with.

A kernel treats eight documents at once: each row of its memory holds one scalar of each of them,
64 bytes, which is one cache line and one or two registers of the processor. Numba would find vector
instructions by itself only where it may reorder sums. Here every lane is its own sum, the order is
the one that is written, and a product is fused with an addition only where `fma` says so: the bits
do not depend on how wide the processor's registers are.

`+ - * / **`, negation, `math.exp`, `math.log`, `math.sqrt` and the functions of `engine.ops` work
on Lanes, and mix with plain floats.

Source: numba, "Extending numba: the low-level API"; LLVM Language Reference, vector types.
"""

import math
import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from engine import ops

WIDTH = 8  # documents side by side

_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(64), WIDTH)
_INT32 = ir.IntType(32)
_ALIGNMENT = 8 * WIDTH  # bytes; `aligned_rows` sees to it

LOG2_E = 1 / math.log(2)
LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # ln 2 to 32 bits, so that n * LN2_HIGH is exact
LN2_LOW = 1.9082149292705877e-10  # the rest
SQRT_HALF = math.sqrt(0.5)
TWO_54 = 2.0**54
EXP_RANGE = (-746.0, 710.0)  # beyond: 0 and infinity


class LanesType(types.Type):
    def __init__(self):
        super().__init__(name="Lanes")


LANES = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _is_lanes(*kinds):
    return any(isinstance(kind, LanesType) for kind in kinds)


# ---- memory ----------------------------------------------------------------------------------


def _address(context, builder, kind, block, row):
    data = context.make_array(kind)(context, builder, block).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, WIDTH))])
    return builder.bitcast(first, _VECTOR.as_pointer())


def load_row(context, builder, kind, block, row):
    """Emit the reading of a row; `kind` is numba's type of the block."""
    address = _address(context, builder, kind, block, row)
    return builder.load(address, align=_ALIGNMENT)


def store_row(context, builder, kind, block, row, lanes):
    """Emit the writing of a row."""
    builder.store(lanes, _address(context, builder, kind, block, row), align=_ALIGNMENT)


@intrinsic
def load(typing, block, row):
    """Read a row of a block, (rows, WIDTH) float64."""

    def emit(context, builder, signature, args):
        return load_row(context, builder, block, *args)

    return LANES(block, types.intp), emit


@intrinsic
def store(typing, block, row, lanes):
    """Write a row of a block, (rows, WIDTH) float64."""

    def emit(context, builder, signature, args):
        store_row(context, builder, block, *args)
        return context.get_dummy_value()

    return types.void(block, types.intp, LANES), emit


def splat(builder, value):
    """Emit eight lanes of one float."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, undefined, lane_places([0] * WIDTH))


def lane_places(which):
    """Emit the constant by which a shuffle chooses lanes."""
    return ir.Constant(ir.VectorType(_INT32, len(which)), list(which))


@intrinsic
def fill(typing, value):
    """Put one float into every lane."""

    def emit(context, builder, signature, args):
        return splat(builder, args[0])

    return LANES(types.float64), emit


# ---- arithmetic ------------------------------------------------------------------------------


def _vectors(builder, signature, args):
    return [
        arg if _is_lanes(kind) else splat(builder, arg)
        for arg, kind in zip(args, signature.args, strict=True)
    ]


def _kinds(*kinds):
    return [LANES if _is_lanes(kind) else types.float64 for kind in kinds]


def _instruction(name):
    """Make a numba function of one LLVM instruction on two operands."""

    @intrinsic
    def apply(typing, a, b):
        def emit(context, builder, signature, args):
            return getattr(builder, name)(*_vectors(builder, signature, args))

        return LANES(*_kinds(a, b)), emit

    return apply


def call_llvm(builder, name, vectors):
    """Emit a call of one of LLVM's own functions, which works lane by lane."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(vectors))
    callee = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f64")
    return builder.call(callee, vectors)


def _llvm_function(name, arity):
    """Make a numba function of one of LLVM's own."""

    def emit(context, builder, signature, args):
        return call_llvm(builder, name, _vectors(builder, signature, args))

    if arity == 1:
        return intrinsic(lambda typing, a: (LANES(*_kinds(a)), emit))
    return intrinsic(lambda typing, a, b, c: (LANES(*_kinds(a, b, c)), emit))


_add, _subtract, _multiply, _divide = map(_instruction, ("fadd", "fsub", "fmul", "fdiv"))
_sqrt, _round = _llvm_function("sqrt", 1), _llvm_function("rint", 1)
_fma = _llvm_function("fma", 3)


@intrinsic
def _choose(typing, a, b, if_above, if_not):
    """Give if_above in the lanes where a > b, if_not where it is not, or one of them is NaN."""

    def emit(context, builder, signature, args):
        a, b, if_above, if_not = _vectors(builder, signature, args)
        return builder.select(builder.fcmp_ordered(">", a, b), if_above, if_not)

    return LANES(*_kinds(a, b, if_above, if_not)), emit


@intrinsic
def where_equal(typing, a, b, lanes):
    """Give lanes where a == b, and 0 elsewhere."""

    def emit(context, builder, signature, args):
        a, b, lanes = _vectors(builder, signature, args)
        zero = splat(builder, ir.Constant(ir.DoubleType(), 0.0))
        return builder.select(builder.fcmp_ordered("==", a, b), lanes, zero)

    return LANES(LANES, types.float64, LANES), emit


@intrinsic
def where_nonzero(typing, mask, lanes):
    """Give lanes where the mask is not 0, and 0 elsewhere, whatever the lanes hold there."""

    def emit(context, builder, signature, args):
        mask, lanes = args
        zero = splat(builder, ir.Constant(ir.DoubleType(), 0.0))
        return builder.select(builder.fcmp_unordered("!=", mask, zero), lanes, zero)

    return LANES(LANES, LANES), emit


@overload(operator.add)
def _overload_add(a, b):
    return (lambda a, b: _add(a, b)) if _is_lanes(a, b) else None


@overload(operator.sub)
def _overload_sub(a, b):
    return (lambda a, b: _subtract(a, b)) if _is_lanes(a, b) else None


@overload(operator.mul)
def _overload_mul(a, b):
    return (lambda a, b: _multiply(a, b)) if _is_lanes(a, b) else None


@overload(operator.truediv)
def _overload_truediv(a, b):
    return (lambda a, b: _divide(a, b)) if _is_lanes(a, b) else None


@overload(operator.neg)
def _overload_neg(a):
    return (lambda a: _multiply(a, -1.0)) if _is_lanes(a) else None


@overload(math.sqrt)
def _overload_sqrt(x):
    return (lambda x: _sqrt(x)) if _is_lanes(x) else None


@overload(ops.fma)
def _overload_fma(a, b, c):
    return (lambda a, b, c: _fma(a, b, c)) if _is_lanes(a, b, c) else None


@overload(ops.larger)
def _overload_larger(a, b):
    return (lambda a, b: _choose(b, a, b, a)) if _is_lanes(a, b) else None


@overload(ops.positive)
def _overload_positive(x):
    return (lambda x: _choose(x, 0.0, 1.0, 0.0)) if _is_lanes(x) else None


# ---- functions -------------------------------------------------------------------------------


@intrinsic
def _scale(typing, x, n):
    """Give x * 2 ** n for whole n of at most 1,100: in two steps, so that neither overflows."""

    def emit(context, builder, signature, args):
        def integers(value):
            return ir.Constant(_INTEGERS, [value] * WIDTH)

        def two_to_the(power):
            bits = builder.shl(builder.add(power, integers(1023)), integers(52))
            return builder.bitcast(bits, _VECTOR)

        x, n = args
        n = builder.sext(builder.fptosi(n, ir.VectorType(_INT32, WIDTH)), _INTEGERS)
        half = builder.ashr(n, integers(1))
        return builder.fmul(builder.fmul(x, two_to_the(half)), two_to_the(builder.sub(n, half)))

    return LANES(LANES, LANES), emit


@intrinsic
def _exponent(typing, x):
    """Give n of x = m * 2 ** n with 1 <= m < 2, for normal positive x."""

    def emit(context, builder, signature, args):
        bits = builder.bitcast(args[0], _INTEGERS)
        biased = builder.lshr(bits, ir.Constant(_INTEGERS, [52] * WIDTH))
        narrow = builder.trunc(biased, ir.VectorType(_INT32, WIDTH))
        return builder.fsub(builder.sitofp(narrow, _VECTOR), splat(builder, _double(1023.0)))

    return LANES(LANES), emit


def _double(value: float):
    return ir.Constant(ir.DoubleType(), value)


@njit
def _exp(x):
    # exp(x) = 2 ** n * exp(r) with |r| <= ln(2) / 2, where 14 terms of the series are enough:
    # the next is below 0.35 ** 14 / 14! = 4e-18. NaN passes through both choices.
    low, high = EXP_RANGE
    x = _choose(x, high, fill(high), x)
    x = _choose(low, x, fill(low), x)
    n = _round(x * LOG2_E)
    n = _choose(n, -2000.0, n, fill(0.0))  # NaN is no integer; it stays in the series
    r = _fma(n, -LN2_LOW, _fma(n, -LN2_HIGH, x))
    series = fill(1 / 6227020800)
    series = _fma(series, r, 1 / 479001600)
    series = _fma(series, r, 1 / 39916800)
    series = _fma(series, r, 1 / 3628800)
    series = _fma(series, r, 1 / 362880)
    series = _fma(series, r, 1 / 40320)
    series = _fma(series, r, 1 / 5040)
    series = _fma(series, r, 1 / 720)
    series = _fma(series, r, 1 / 120)
    series = _fma(series, r, 1 / 24)
    series = _fma(series, r, 1 / 6)
    series = _fma(series, r, 1 / 2)
    series = _fma(series, r, 1.0)
    series = _fma(series, r, 1.0)
    return _scale(series, n)


@njit
def _log(x):
    # x = m * 2 ** n with m between sqrt(1/2) and sqrt(2); then log(m) = 2 artanh(s) with
    # s = (m - 1) / (m + 1), |s| <= 0.172, where 12 terms of the series are enough.
    tiny = _choose(2.0**-1022, x, 1.0, fill(0.0))  # subnormal, or not positive
    m = x * _choose(tiny, 0.0, TWO_54, fill(1.0))
    n = _exponent(m)
    m = _scale(m, n * -1.0)
    above = _choose(m, 2 * SQRT_HALF, 1.0, fill(0.0))
    m = m * _choose(above, 0.0, 0.5, fill(1.0))
    n = n + above - 54.0 * tiny
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = fill(1 / 23)
    for odd in (21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        series = _fma(series, square, 1 / odd)
    series = 2.0 * _fma(s * square, series, s)
    result = _fma(n, LN2_HIGH, _fma(n, LN2_LOW, series))
    result = _choose(x, 1.7976931348623157e308, fill(math.inf), result)
    result = _choose(x, 0.0, result, fill(-math.inf))
    is_negative_or_nan = _choose(x, -5e-324, fill(0.0), fill(math.nan))
    return result + is_negative_or_nan


@overload(math.exp)
def _overload_exp(x):
    return (lambda x: _exp(x)) if _is_lanes(x) else None


@overload(math.log)
def _overload_log(x):
    return (lambda x: _log(x)) if _is_lanes(x) else None


@intrinsic
def _pow(typing, x, exponent):
    def emit(context, builder, signature, args):
        kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()] * 2)
        callee = cgutils.get_or_insert_function(builder.module, kind, "llvm.pow.f64")
        result = args[0]
        for lane in range(WIDTH):
            where = ir.Constant(_INT32, lane)
            power = builder.call(callee, [builder.extract_element(args[0], where), args[1]])
            result = builder.insert_element(result, power, where)
        return result

    return LANES(LANES, types.float64), emit


@overload(operator.pow)
def _overload_pow(x, exponent):
    return (lambda x, exponent: _pow(x, exponent)) if _is_lanes(x) else None
