"""A matrix times lanes, for every size of what a tile leaves over, against sums written down."""

import random
from itertools import product

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from engine import matmul
from engine.compiled import rows_of_lanes
from engine.lanes import WIDTH

pytestmark = pytest.mark.oracle

SIZES = [*product((1, 2, 3, 4, 5, 7, 8, 9), (1, 3, 4, 5, 9), (1, 2, 4, 5, 6))]  # j, m, k


@njit(error_model="numpy")
def multiply(source, target, params, w, x, y, vectors, outputs, steps, stores):  # type: ignore[no-untyped-def]
    matmul.multiply(source, target, params, w, x, y, vectors, outputs, steps, stores)


@njit(error_model="numpy")
def add_weight_gradients(values, grads, param_grads, weights, x, y, vectors, outputs, columns):  # type: ignore[no-untyped-def]
    matmul.add_weight_gradients(
        values, grads, param_grads, weights, x, y, vectors, outputs, columns
    )


def whole_rows(count: int, seed: int) -> NDArray[np.float64]:
    """Make rows of small whole numbers: their products add up exactly, in any order."""
    rows = rows_of_lanes(count)
    rows[:] = np.random.default_rng(seed).integers(-9, 10, rows.shape)
    return rows


def rough_rows(count: int, seed: int) -> NDArray[np.float64]:
    rows = rows_of_lanes(count)
    rows[:] = np.random.default_rng(seed).standard_normal(rows.shape)
    return rows


def strides(vectors: int, steps: int, is_wide: bool) -> tuple[int, int, int]:
    """Lay vectors one after the other, or side by side from row 2 on."""
    return (2, 1, vectors) if is_wide else (0, steps, 1)


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("stores", [False, True])
def test_products_are_exact_for_every_size(stores: bool, is_wide: bool) -> None:
    for vectors, outputs, steps in SIZES:
        source = whole_rows(vectors * steps + 2, seed=vectors)
        target = whole_rows(vectors * outputs + 2, seed=outputs)
        params = np.random.default_rng(steps).integers(-9, 10, outputs * steps + 1) * 1.0
        x, y = strides(vectors, steps, is_wide), strides(vectors, outputs, is_wide)
        expected = target.copy()
        for j, m in product(range(vectors), range(outputs)):
            row = expected[y[0] + j * y[1] + m * y[2]]
            row *= not stores
            for k in range(steps):
                row += params[1 + m * steps + k] * source[x[0] + j * x[1] + k * x[2]]

        multiply(source, target, params, (1, steps, 1), x, y, vectors, outputs, steps, stores)

        assert np.array_equal(target, expected), (vectors, outputs, steps)


def test_a_transposed_matrix_is_its_strides() -> None:
    for vectors, outputs, steps in SIZES:
        source, target = whole_rows(vectors * steps, 1), rows_of_lanes(vectors * outputs)
        params = np.random.default_rng(2).integers(-9, 10, outputs * steps) * 1.0

        w, x, y = (0, 1, outputs), (0, steps, 1), (0, outputs, 1)
        multiply(source, target, params, w, x, y, vectors, outputs, steps, True)

        matrix, lanes = params.reshape(steps, outputs).T, source.reshape(vectors, steps, WIDTH)
        assert np.array_equal(target.reshape(vectors, outputs, WIDTH), matrix @ lanes)


@pytest.mark.parametrize("is_wide", [False, True])
def test_gradients_of_weights_are_exact_for_every_size_and_added(is_wide: bool) -> None:
    for vectors, outputs, columns in SIZES:
        values = whole_rows(vectors * columns + 2, seed=vectors)
        grads = whole_rows(vectors * outputs + 3, seed=outputs)
        param_grads = np.arange(1.0 * outputs * columns + 3)
        x = strides(vectors, columns, is_wide)
        expected = param_grads.copy()
        for j, m, k in product(range(vectors), range(outputs), range(columns)):
            lanes = grads[3 + j * outputs + m] * values[x[0] + j * x[1] + k * x[2]]
            for lane in lanes:
                expected[2 + m * columns + k] += lane

        add_weight_gradients(values, grads, param_grads, 2, x, 3, vectors, outputs, columns)

        assert np.array_equal(param_grads, expected), (vectors, outputs, columns)


def test_the_bits_of_a_product_do_not_depend_on_what_is_beside_it() -> None:
    """Every tile adds from left to right, by fused products, whatever its size."""
    outputs, steps, vectors = 9, 16, 7
    source = rough_rows(vectors * steps, 1)
    params = np.random.default_rng(2).standard_normal(outputs * steps)
    together = rows_of_lanes(vectors * outputs)
    w, x, y = (0, steps, 1), (0, steps, 1), (0, outputs, 1)
    multiply(source, together, params, w, x, y, vectors, outputs, steps, True)

    alone = rows_of_lanes(vectors * outputs)
    for j, m in product(range(vectors), range(outputs)):
        place, start, out = (m * steps, steps, 1), (j * steps, steps, 1), (j * outputs + m, 0, 1)
        multiply(source, alone, params, place, start, out, 1, 1, steps, True)

    assert alone.tobytes() == together.tobytes()


def test_adding_goes_on_from_what_is_there() -> None:
    """A sum in two halves has the bits of the whole."""
    outputs, steps, vectors = 5, 12, 3
    source = rough_rows(vectors * steps, 3)
    params = np.random.default_rng(4).standard_normal(outputs * steps)
    whole, halves = rows_of_lanes(vectors * outputs), rows_of_lanes(vectors * outputs)
    y = (0, outputs, 1)
    multiply(source, whole, params, (0, steps, 1), (0, steps, 1), y, vectors, outputs, steps, True)

    for start, stores in ((0, True), (6, False)):
        w, x = (start, steps, 1), (start, steps, 1)
        multiply(source, halves, params, w, x, y, vectors, outputs, 6, stores)

    assert halves.tobytes() == whole.tobytes()


def test_four_columns_are_folded_with_the_bits_of_one() -> None:
    """Tiles of four fold side by side, what is left over one by one: one order for both."""
    outputs, columns, vectors = 6, 8, 5
    values, grads = rough_rows(vectors * columns, 5), rough_rows(vectors * outputs, 6)
    values *= 10.0 ** np.random.default_rng(7).integers(-8, 9, values.shape)
    together, alone = np.zeros(outputs * columns), np.zeros(outputs * columns)
    x = (0, columns, 1)
    add_weight_gradients(values, grads, together, 0, x, 0, vectors, outputs, columns)

    for m, k in product(range(outputs), range(columns)):
        one = np.zeros(1)
        rows = grads.reshape(vectors, outputs, WIDTH)[:, m]
        own = rows_of_lanes(vectors)
        own[:] = rows
        add_weight_gradients(values, own, one, 0, (k, columns, 1), 0, vectors, 1, 1)
        alone[m * columns + k] = one[0]

    assert alone.tobytes() == together.tobytes()


def test_lanes_of_a_gradient_are_added_by_halves_quarters_and_pairs() -> None:
    rng = random.Random(8)
    values, grads = rows_of_lanes(4), rows_of_lanes(1)
    values[:], grads[:] = 1.0, 1.0
    for columns in (1, 4) * 50:
        param_grads = np.zeros(columns)
        a = [rng.uniform(-1, 1) * 10 ** rng.uniform(-8, 8) for _ in range(WIDTH)]
        grads[0] = a
        add_weight_gradients(values, grads, param_grads, 0, (0, 4, 1), 0, 1, 1, columns)

        by_hand = ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
        assert param_grads.tolist() == [by_hand] * columns
