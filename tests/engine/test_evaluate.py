"""The held-out loss: a mean over the first documents, with the bits of the training loss."""

import math
import random
from array import array

import pytest

from engine.config import ModelConfig
from engine.eager import Eager, document_gradient
from engine.evaluate import held_out_loss
from engine.params import initialise

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=3)
PARAMS = initialise(CONFIG, random.Random(1))


def test_the_held_out_loss_is_the_mean_of_the_documents_losses() -> None:
    documents = [[2, 0, 2], [2, 1, 1, 2], [2, 2]]
    losses = [document_gradient(CONFIG, PARAMS, tokens).loss for tokens in documents]

    mean = held_out_loss(Eager(CONFIG), PARAMS, documents)

    assert mean == (losses[0] + losses[1] + losses[2]) / 3


def test_only_the_first_256_documents_are_evaluated() -> None:
    short, long = [2, 0, 2], [2, 1, 1, 2]

    mean = held_out_loss(Eager(CONFIG), PARAMS, [short] * 256 + [long] * 44)

    assert mean == held_out_loss(Eager(CONFIG), PARAMS, [short] * 256)
    assert mean != held_out_loss(Eager(CONFIG), PARAMS, [short] * 255 + [long])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_mean_that_leaves_the_floats_is_nan(value: float) -> None:
    params = array("d", [value] * CONFIG.num_params)

    assert math.isnan(held_out_loss(Eager(CONFIG), params, [[2, 0, 2], [2, 1, 2]]))
