"""The gradient of a document, alone and in sums."""

import math
import random
from array import array
from dataclasses import replace

import pytest

from engine.config import ModelConfig, TrainConfig
from engine.eager import Eager, document_gradient
from engine.gradient import GradientSum
from engine.optimizer import Moments, adam_update
from engine.params import as_matrices, initialise, layout_of

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=3)
PARAMS = initialise(CONFIG, random.Random(1))
ENGINE = Eager(CONFIG)
DOCUMENTS = [[2, 0, 2], [2, 1, 1, 2], [2, 2]]


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

    assert ENGINE.plus(left, right) == GradientSum(0.1 + 0.2, array("d", [0.1 + 0.2, 1e16]))
    assert left.grad == array("d", [0.1, 1e16])


def test_a_shard_adds_its_documents_from_left_to_right() -> None:
    a, b, c = (document_gradient(CONFIG, PARAMS, tokens) for tokens in DOCUMENTS)

    assert ENGINE.gradient(PARAMS, DOCUMENTS) == ENGINE.plus(ENGINE.plus(a, b), c)


def test_the_portions_of_a_shard_are_its_documents_one_by_one() -> None:
    assert ENGINE.portions(DOCUMENTS) == [[[2, 0, 2]], [[2, 1, 1, 2]], [[2, 2]]]


def test_a_loss_without_a_gradient_has_the_bits_of_one_with_it() -> None:
    losses = [document_gradient(CONFIG, PARAMS, tokens).loss for tokens in DOCUMENTS]

    assert ENGINE.losses(PARAMS, DOCUMENTS) == losses


def test_a_loss_outside_the_floats_is_nan_and_its_neighbours_are_not() -> None:
    params = array("d", PARAMS)
    (lm_head,) = (place for place in layout_of(CONFIG) if place.name == "lm_head")
    for i in range(lm_head.offset, lm_head.offset + lm_head.columns):
        params[i] *= 1e6  # token 0 is certain, or impossible

    losses = ENGINE.losses(params, [[2, 0], [2, 2], [2, 0]])

    assert [math.isnan(loss) for loss in losses] in ([False, True, False], [True, False, True])


def test_an_update_is_adam_in_scalar_python() -> None:
    config = TrainConfig(steps=2, batch_size=1, shards=1)
    grad = ENGINE.gradient(PARAMS, DOCUMENTS).grad
    moments = Moments.zeros(CONFIG.num_params)

    updated = ENGINE.update(config, 1, PARAMS, moments, grad)

    assert updated == adam_update(config, 1, PARAMS, moments, grad)


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
