"""The oracle: a training loop that anybody may take apart, and that needs nothing installed."""

import random
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import TrainConfig
from engine.eager import Eager, document_gradient
from engine.optimizer import Moments, adam_update
from engine.params import Flat
from engine.reference import train as train_with
from engine.run import Run, prepare_run
from engine.shards import branch_documents, cut_branch, global_batch, order_by_length
from engine.tree import cut_branches, tree_sum

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]

TEXTS = ["emma", "al", "mia", "jo", "evalyn", "a", "ivy"]
SHAPE = {"n_embd": 4, "n_head": 2, "block_size": 6}


def small_run(steps: int, batch_size: int, shards: int) -> Run:
    return prepare_run(TEXTS, TrainConfig(steps, batch_size, shards), SHAPE)


def train(run: Run) -> Iterator[tuple[float, Flat]]:
    return train_with(run, Eager(run.model))


def test_with_one_document_a_step_the_loop_is_that_of_microgpt() -> None:
    run = small_run(steps=9, batch_size=1, shards=1)
    expected = []
    params, moments = run.params, Moments.zeros(run.model.num_params)
    for step in range(9):
        one = document_gradient(run.model, params, run.documents[step % 7])
        params, moments = adam_update(run.train, step, params, moments, one.grad)
        expected.append((one.loss, params))

    assert list(train(run)) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_branches_summed_by_anybody_give_the_parameters_of_the_reference(count: int) -> None:
    run = small_run(steps=1, batch_size=7, shards=5)
    engine = Eager(run.model)
    ((loss, params),) = train(run)
    batch = order_by_length(global_batch(run.documents, 0, 7))

    sums = {}
    for lo, hi in cut_branches(5, count):
        shards = cut_branch(branch_documents(batch, lo, hi, 5), lo, hi, 7, 5)
        leaves = {
            (lo + i, lo + i + 1): engine.gradient(run.params, shard)
            for i, shard in enumerate(shards)
        }
        sums[lo, hi] = tree_sum(lo, hi, leaves.get, engine.plus)
    total = tree_sum(0, 5, sums.get, engine.plus)

    grad = array("d", (g / 7 for g in total.grad))
    moments = Moments.zeros(run.model.num_params)
    assert total.loss / 7 == loss
    assert adam_update(run.train, 0, run.params, moments, grad)[0] == params


def test_a_step_takes_the_mean_of_its_documents() -> None:
    run = small_run(steps=1, batch_size=7, shards=1)
    losses = [document_gradient(run.model, run.params, tokens).loss for tokens in run.documents]

    ((loss, _),) = train(run)

    assert loss == pytest.approx(sum(losses) / 7, rel=1e-14)


def test_every_step_yields_its_loss_and_parameters_and_the_loss_falls() -> None:
    run = small_run(steps=40, batch_size=7, shards=3)

    steps = list(train(run))

    assert len(steps) == 40
    assert steps[-1][0] < steps[0][0] - 0.3
    assert run.params != steps[0][1] != steps[1][1]


WITHOUT_PACKAGES = """
import sys

sys.path.insert(0, sys.argv[1])

import random

import engine.errors, engine.evaluate, engine.sample
from engine.config import TrainConfig
from engine.eager import Eager
from engine.params import as_matrices, layout_of
from engine.reference import train
from engine.run import prepare_run

shape = {"n_embd": 4, "n_head": 2, "block_size": 6}
run = prepare_run(["emma", "ava", "mia"], TrainConfig(1, 3, 2), shape)
((loss, params),) = train(run, Eager(run.model))
matrices = as_matrices(layout_of(run.model), params.tolist())
print(loss.hex(), engine.sample.sample_tokens(run.model, matrices, random.Random(1), 1.0))
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""


def test_the_eager_engine_trains_and_samples_with_the_standard_library_alone() -> None:
    run = prepare_run(["emma", "ava", "mia"], TrainConfig(1, 3, 2), SHAPE)
    ((loss, _),) = train(run)

    command = [sys.executable, "-I", "-S", "-c", WITHOUT_PACKAGES, str(ROOT)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert child.returncode == 0, child.stderr
    results, modules = child.stdout.splitlines()
    assert results.startswith(f"{loss.hex()} [")
    assert modules == "__main__ engine"


def test_the_same_run_gives_the_same_bits_twice() -> None:
    first, again = (list(train(small_run(2, 3, 2))) for _ in range(2))

    assert first == again
    assert first != list(train(prepare_run(TEXTS, TrainConfig(2, 3, 2, seed=1), SHAPE)))


def test_a_run_can_be_prepared_from_documents_in_any_order_but_is_another_run() -> None:
    order = list(TEXTS)
    random.Random(1).shuffle(order)

    one = prepare_run(TEXTS, TrainConfig(1, 1, 1), SHAPE)
    other = prepare_run(order, TrainConfig(1, 1, 1), SHAPE)

    assert sorted(one.documents) == sorted(other.documents)
    assert one.documents != other.documents
