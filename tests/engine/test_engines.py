"""Every engine that a configuration may name can be made."""

import random

import pytest

from engine.config import ENGINES, ModelConfig
from engine.eager import Eager
from engine.engines import engine_of
from engine.params import initialise

MODEL = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=3)
PARAMS = initialise(MODEL, random.Random(1))
DOCUMENTS = [[2, 2], [2, 0, 2], [2, 1, 1, 2]]


@pytest.mark.unit
def test_the_eager_engine_is_found_by_its_name() -> None:
    assert isinstance(engine_of("eager", MODEL), Eager)


@pytest.mark.unit
@pytest.mark.parametrize("name", ENGINES)
def test_the_portions_of_a_shard_are_all_of_it_in_order(name: str) -> None:
    portions = engine_of(name, MODEL).portions(DOCUMENTS)

    assert [tokens for portion in portions for tokens in portion] == DOCUMENTS


@pytest.mark.oracle
@pytest.mark.parametrize("name", ENGINES)
def test_a_gradient_sum_holds_the_sum_of_the_losses(name: str) -> None:
    engine = engine_of(name, MODEL)

    first, second, third = engine.losses(PARAMS, DOCUMENTS)

    total = engine.gradient(PARAMS, DOCUMENTS)
    assert total.loss == pytest.approx(first + second + third, rel=1e-14)
    assert len(total.grad) == MODEL.num_params
