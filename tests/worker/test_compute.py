"""The probe of a worker: as large as a task can be, and in need of nothing."""

import math
from collections.abc import Sequence

import pytest

from engine.config import TrainConfig, WorkConfig
from engine.eager import Eager
from engine.gradient import Engine
from engine.run import prepare_run
from engine.shards import Tokens
from worker.compute import probe_portion

pytestmark = pytest.mark.unit

TEXTS = ["abba", "ba", "a", "bab", "aab", "b", "abab"]
RUN = prepare_run(TEXTS, TrainConfig(1, 7, 5), {"n_embd": 1, "n_head": 1, "block_size": 4})


class Whole(Eager):
    """Looks up only between two shards, as an engine of lanes does."""

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        return [documents]


@pytest.mark.parametrize(
    ("engine", "num_documents"),
    [(Eager(RUN.model), 1), (Whole(RUN.model), 2)],
    ids=["eager", "whole shards"],
)
def test_the_probe_is_the_largest_portion_and_needs_neither_parameters_nor_documents(
    engine: Engine, num_documents: int
) -> None:
    work = WorkConfig("eager", 7, 5, RUN.model)

    probe = probe_portion(engine, work)

    assert probe.loss == pytest.approx(num_documents * math.log(RUN.model.vocab_size))
    assert len(probe.grad) == RUN.model.num_params
