"""The gradient of a document, alone and in sums."""

import math
import random
from array import array
from dataclasses import replace

import pytest

from engine.config import ModelConfig
from engine.eager import GradientSum, document_gradient
from engine.params import as_matrices, initialise, layout_of

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=3)
PARAMS = initialise(CONFIG, random.Random(1))


def test_every_document_is_differentiated_from_zero() -> None:
    first = document_gradient(CONFIG, PARAMS, [2, 0, 1, 2])
    document_gradient(CONFIG, PARAMS, [2, 1, 2])

    assert document_gradient(CONFIG, PARAMS, [2, 0, 1, 2]) == first


def test_a_gradient_has_a_number_for_each_parameter_in_flat_order() -> None:
    grad = as_matrices(layout_of(CONFIG), document_gradient(CONFIG, PARAMS, [2, 0, 2]).grad)

    assert [any(row) for row in grad["wte"]] == [True, False, True]  # token 1 never came
    assert [any(row) for row in grad["wpe"]] == [True, True, False]  # nor did position 2


def test_sums_add_losses_and_gradients_from_left_to_right() -> None:
    left = GradientSum(0.1, array("d", [0.1, 1e16]))
    right = GradientSum(0.2, array("d", [0.2, 1.0]))

    assert left.plus(right) == GradientSum(0.1 + 0.2, array("d", [0.1 + 0.2, 1e16]))
    assert left.grad == array("d", [0.1, 1e16])


@pytest.mark.parametrize(
    ("activation", "matrix", "scale"),
    [("relu", "lm_head", 1e5), ("relu2", "layer0.mlp_fc1", 1e160)],
)
def test_where_python_refuses_a_logarithm_or_a_power_all_is_nan(
    activation: str, matrix: str, scale: float
) -> None:
    config = replace(CONFIG, activation=activation)
    params = array("d", PARAMS)
    (place,) = (place for place in layout_of(config) if place.name == matrix)
    for i in range(place.offset, place.offset + place.rows * place.columns):
        params[i] *= scale

    result = document_gradient(config, params, [2, 0, 1, 2])

    assert math.isnan(result.loss)
    assert len(result.grad) == config.num_params
    assert all(map(math.isnan, result.grad))


def test_an_overflow_that_python_lets_pass_still_shows_in_the_gradient() -> None:
    params = array("d", (param * 1e160 for param in PARAMS))

    result = document_gradient(CONFIG, params, [2, 0, 1, 2])

    assert not all(map(math.isfinite, [result.loss, *result.grad]))
