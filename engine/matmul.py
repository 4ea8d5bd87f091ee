"""Matrix times lanes, in tiles that stay in registers.

A tile is up to four outputs by four vectors: sixteen sums, each in a register of its own, which
take a scalar of four vectors and four parameters at a time. Each sum runs from left to right, by
fused multiply-adds, whatever tile it is in: bits do not depend on how many documents or positions
there are beside it.

Prior art: the register tiles of GotoBLAS and BLIS (Goto & van de Geijn 2008).
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from engine.lanes import LANES, WIDTH, call_llvm, lane_places, load_row, splat, store_row

TILE = 4
OPTIONS = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INLINE = {**OPTIONS, "inline": "always"}  # no function of its own: that costs time to compile


# ---- tiles: tuples of lanes, unrolled --------------------------------------------------------


def _items(builder, values, count):
    return [builder.extract_value(values, i) for i in range(count)]


@intrinsic
def _zeros(typing, outputs, vectors):
    """Begin a tile of len(outputs) x len(vectors) sums."""
    kind = types.UniTuple(LANES, len(outputs) * len(vectors))

    def emit(context, builder, signature, args):
        zero = splat(builder, ir.Constant(ir.DoubleType(), 0.0))
        return context.make_tuple(builder, kind, [zero] * len(kind))

    return kind(outputs, vectors), emit


@intrinsic
def _load_each(typing, block, rows, offset):
    """Read several rows of a block."""
    kind = types.UniTuple(LANES, len(rows))

    def emit(context, builder, signature, args):
        loaded = [
            load_row(context, builder, signature.args[0], args[0], builder.add(row, args[2]))
            for row in _items(builder, args[1], len(rows))
        ]
        return context.make_tuple(builder, kind, loaded)

    return kind(block, rows, types.intp), emit


@intrinsic
def _fma_outer(typing, a, b, tile):
    """Add the product of each of `a` (lanes or floats) with each of `b` (lanes) to a tile."""

    def emit(context, builder, signature, args):
        left = _items(builder, args[0], len(a))
        right = _items(builder, args[1], len(b))
        if a.dtype is not LANES:
            left = [splat(builder, item) for item in left]
        sums = _items(builder, args[2], len(tile))
        pairs = [(x, y) for x in left for y in right]
        added = [
            call_llvm(builder, "fma", [x, y, z]) for (x, y), z in zip(pairs, sums, strict=True)
        ]
        return context.make_tuple(builder, tile, added)

    return tile(a, b, tile), emit


@intrinsic
def _each_param(typing, params, places, offset):
    """Read several parameters."""
    kind = types.UniTuple(types.float64, len(places))

    def emit(context, builder, signature, args):
        data = context.make_array(params)(context, builder, args[0]).data
        places_ = [builder.add(place, args[2]) for place in _items(builder, args[1], len(places))]
        read = [builder.load(builder.gep(data, [place])) for place in places_]
        return context.make_tuple(builder, kind, read)

    return kind(params, places, types.intp), emit


@intrinsic
def _load_tile(typing, block, outputs, rows, step):
    """Read a tile: output m of vector j is row rows[j] + m * step."""
    kind = types.UniTuple(LANES, len(outputs) * len(rows))

    def emit(context, builder, signature, args):
        places = _tile_rows(builder, args[2], args[3], len(outputs), len(rows))
        loaded = [load_row(context, builder, block, args[0], place) for place in places]
        return context.make_tuple(builder, kind, loaded)

    return kind(block, outputs, rows, types.intp), emit


@intrinsic
def _store_tile(typing, block, outputs, rows, step, tile):
    """Write what `_load_tile` reads."""

    def emit(context, builder, signature, args):
        places = _tile_rows(builder, args[2], args[3], len(outputs), len(rows))
        for place, lanes in zip(places, _items(builder, args[4], len(tile)), strict=True):
            store_row(context, builder, block, args[0], place, lanes)
        return context.get_dummy_value()

    return types.void(block, outputs, rows, types.intp, tile), emit


def _tile_rows(builder, rows, step, outputs, vectors):
    starts = _items(builder, rows, vectors)
    offsets = [builder.mul(step, ir.Constant(step.type, m)) for m in range(outputs)]
    return [builder.add(start, offset) for offset in offsets for start in starts]


@intrinsic
def _add_folded(typing, array, rows, tile):
    """Fold each sum of a tile and add it to a flat array: row m's from rows[m] on."""
    columns = len(tile) // len(rows)

    def emit(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        sums = _items(builder, args[2], len(tile))
        for m, row in enumerate(_items(builder, args[1], len(rows))):
            mine = sums[m * columns : (m + 1) * columns]
            folded = fold_four(builder, mine) if columns == TILE else fold_one(builder, *mine)
            address = builder.bitcast(builder.gep(data, [row]), folded.type.as_pointer())
            old = builder.load(address, align=8)
            builder.store(builder.fadd(old, folded), address, align=8)
        return context.get_dummy_value()

    return types.void(array, rows, tile), emit


@intrinsic
def _shift(typing, places, offset):
    """Add an offset to each of a tuple of integers."""

    def emit(context, builder, signature, args):
        moved = [builder.add(place, args[1]) for place in _items(builder, args[0], len(places))]
        return context.make_tuple(builder, places, moved)

    return places(places, types.intp), emit


# ---- folding: from eight lanes to one float ---------------------------------------------------


def fold_one(builder, lanes):
    """Emit the sum of the lanes: halves are added, then quarters, then pairs."""
    width = WIDTH
    while width > 1:
        width //= 2
        low = builder.shuffle_vector(lanes, lanes, lane_places(range(width)))
        high = builder.shuffle_vector(lanes, lanes, lane_places(range(width, 2 * width)))
        lanes = builder.fadd(low, high)
    return builder.extract_element(lanes, ir.Constant(ir.IntType(32), 0))


def fold_four(builder, lanes):
    """Emit the four sums of the lanes of four, in the order of `fold_one`, as one vector."""
    a, b, c, d = lanes
    low, high = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)
    ab, cd = (_add_shuffled(builder, x, y, low, high) for x, y in ((a, b), (c, d)))
    low, high = (0, 1, 4, 5, 8, 9, 12, 13), (2, 3, 6, 7, 10, 11, 14, 15)
    abcd = _add_shuffled(builder, ab, cd, low, high)
    return _add_shuffled(builder, abcd, abcd, (0, 2, 4, 6), (1, 3, 5, 7))


def _add_shuffled(builder, x, y, low, high):
    parts = [builder.shuffle_vector(x, y, lane_places(which)) for which in (low, high)]
    return builder.fadd(*parts)


@intrinsic
def fold(typing, lanes):
    """Add the lanes up to one float."""

    def emit(context, builder, signature, args):
        return fold_one(builder, args[0])

    return types.float64(LANES), emit


# ---- Y = W X, and back -----------------------------------------------------------------------
# Strides are in rows of a block, or in parameters. Tuples say how large a tile is; numba compiles
# one variant for each size.


@njit(**OPTIONS)
def _tile(source, target, params, w, w_step, x, x_step, y, y_step, steps, stores):
    sums = _zeros(w, x) if stores else _load_tile(target, w, y, y_step)
    for k in range(steps):
        weights = _each_param(params, w, k * w_step)
        sums = _fma_outer(weights, _load_each(source, x, k * x_step), sums)
    _store_tile(target, w, y, y_step, sums)


@njit(**INLINE)
def _band(source, target, params, w, x, x_step, y, y_step, outputs, steps, stores):
    """All outputs of up to four vectors."""
    start, w_row, w_step = w
    whole = outputs - outputs % TILE
    for m in range(0, whole, TILE):
        at, ys = start + m * w_row, _shift(y, m * y_step)
        four = (at, at + w_row, at + 2 * w_row, at + 3 * w_row)
        _tile(source, target, params, four, w_step, x, x_step, ys, y_step, steps, stores)
    for m in range(whole, outputs):
        one, ys = (start + m * w_row,), _shift(y, m * y_step)
        _tile(source, target, params, one, w_step, x, x_step, ys, y_step, steps, stores)


@njit(**OPTIONS)
def multiply(source, target, params, w, x, y, vectors, outputs, steps, stores):
    """Multiply a matrix of parameters by vectors of lanes.

    Args:
        w, x, y: (first, from one to the next, step): of the matrix rows, parameters; of the
            vectors and of their products, rows of `source` and `target`.
        vectors, outputs, steps: how many vectors, scalars of a product, scalars of a vector.
        stores: whether to begin at zero; else at what is in the target.
    """
    start, x_vector, x_step = x
    out, y_vector, y_step = y
    for j in range(0, vectors, TILE):
        a, b = start + j * x_vector, out + j * y_vector
        left = min(TILE, vectors - j)
        if left == 4:
            x4 = (a, a + x_vector, a + 2 * x_vector, a + 3 * x_vector)
            y4 = (b, b + y_vector, b + 2 * y_vector, b + 3 * y_vector)
            _band(source, target, params, w, x4, x_step, y4, y_step, outputs, steps, stores)
        elif left == 3:
            x3 = (a, a + x_vector, a + 2 * x_vector)
            y3 = (b, b + y_vector, b + 2 * y_vector)
            _band(source, target, params, w, x3, x_step, y3, y_step, outputs, steps, stores)
        elif left == 2:
            x2, y2 = (a, a + x_vector), (b, b + y_vector)
            _band(source, target, params, w, x2, x_step, y2, y_step, outputs, steps, stores)
        else:
            x1, y1 = (a,), (b,)
            _band(source, target, params, w, x1, x_step, y1, y_step, outputs, steps, stores)


@njit(**OPTIONS)
def _weight_tile(values, grads, param_grads, w, y, y_vector, x, x_vector, vectors):
    sums = _zeros(y, x)
    for j in range(vectors):
        ys = _load_each(grads, y, j * y_vector)
        sums = _fma_outer(ys, _load_each(values, x, j * x_vector), sums)
    _add_folded(param_grads, w, sums)


@njit(**INLINE)
def _weight_band(values, grads, param_grads, w, y, y_vector, x, vectors, columns):
    """The gradients of up to four rows of the matrix."""
    start, x_vector, x_step = x
    whole = columns - columns % TILE
    for k in range(0, whole, TILE):
        at, places = start + k * x_step, _shift(w, k)
        four = (at, at + x_step, at + 2 * x_step, at + 3 * x_step)
        _weight_tile(values, grads, param_grads, places, y, y_vector, four, x_vector, vectors)
    for k in range(whole, columns):
        one, places = (start + k * x_step,), _shift(w, k)
        _weight_tile(values, grads, param_grads, places, y, y_vector, one, x_vector, vectors)


@njit(**OPTIONS)
def add_weight_gradients(values, grads, param_grads, weights, x, y, vectors, outputs, columns):
    """Add the gradient of the matrix: for each product times its vector, over vectors and lanes.

    Args:
        weights: the matrix's first parameter.
        x: (first, from one to the next, step) of the vectors, in rows of `values`.
        y: the first row of the products' gradients, which follow each other.
    """
    whole = outputs - outputs % TILE
    for m in range(0, whole, TILE):
        at, b = weights + m * columns, y + m
        w4 = (at, at + columns, at + 2 * columns, at + 3 * columns)
        y4 = (b, b + 1, b + 2, b + 3)
        _weight_band(values, grads, param_grads, w4, y4, outputs, x, vectors, columns)
    for m in range(whole, outputs):
        w1, y1 = (weights + m * columns,), (y + m,)
        _weight_band(values, grads, param_grads, w1, y1, outputs, x, vectors, columns)
