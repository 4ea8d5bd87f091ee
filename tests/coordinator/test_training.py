"""The open step: its branches, its documents, what is judged about a gradient, and its commit."""

import math
from dataclasses import replace

import numpy as np
import pytest

from coordinator.leases import BranchSum
from coordinator.training import Training
from engine.config import TrainConfig
from engine.eager import Eager
from engine.optimizer import Moments
from engine.packed import PackedDocuments
from engine.params import Flat, layout_of, to_bytes
from engine.shards import cut_branch, global_batch, order_by_length
from engine.vector import adam_update
from tests.coordinator.scenario import reference, small_run, training_of
from wire.messages import Grad
from wire.payload import unpack

pytestmark = pytest.mark.unit


def grad(name: str = "x", lo: int = 0, hi: int = 1, payload: bytes = b"") -> Grad:
    return Grad("", 1, 1, 0, lo, hi, 1, name, 1.0, 0.0, 0.1, payload)


def test_the_documents_of_the_branches_are_those_of_the_step_by_length() -> None:
    run = small_run(batch_size=6, shards=5)
    training = training_of(run)
    training.cut(3)

    documents = []
    for branch in [(0, 2), (2, 4), (4, 5)]:
        assert training.board.holds(branch)
        payload = training.payload(branch)
        documents += PackedDocuments.of_arrays(*unpack(payload, training.count_documents(branch)))

    batch = order_by_length(global_batch(run.documents, 0, 6))
    assert documents == [tuple(tokens) for tokens in batch]


def test_a_step_is_committed_with_the_bits_of_the_reference() -> None:
    run = small_run(steps=2, batch_size=6, shards=2)
    training = training_of(run)

    for step, (loss, params) in enumerate(reference(run)):
        training.cut(2)
        batch = order_by_length(global_batch(run.documents, step, 6))
        for shard, documents in enumerate(cut_branch(batch, 0, 2, 6, 2)):
            one = Eager(run.model).gradient(training.params, documents)
            training.board.count((shard, shard + 1), BranchSum(one.loss, np.array(one.grad)), "w")
        training.commit(training.reduce())

        assert training.step == step + 1
        assert training.loss == loss
        assert to_bytes(training.params) == params == training.point.params_bytes
    assert training.is_finished


def test_a_commit_opens_a_step_without_sums() -> None:
    run = small_run(steps=2, batch_size=6, shards=1)
    training = training_of(run)
    before = training.params_digest
    zeros = np.zeros(run.model.num_params)

    training.board.count((0, 1), BranchSum(1.5, zeros), "w")
    training.commit(training.reduce())

    assert training.board.is_untouched
    assert training.loss == 0.25
    assert not training.is_finished
    assert training.params_digest == before  # a gradient of zero moves nothing


class Fast(Eager):
    """Updates as fast engines do."""

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        return adam_update(config, step, params, moments, grad)


@pytest.mark.parametrize("engine", [Eager, Fast])
def test_an_update_that_leaves_the_floats_is_not_committed(engine: type[Eager]) -> None:
    """The square of such a gradient is infinite, and its parameter would stay where it is."""
    run = small_run(steps=2, batch_size=6, shards=1)
    moments = Moments.zeros(run.model.num_params)
    training = Training(run, engine(run.model), 0, run.params, moments, None)
    training.board.count((0, 1), BranchSum(1.5, np.full(run.model.num_params, 1e200)), "w")

    with pytest.raises(OverflowError):
        training.commit(training.reduce())

    assert training.step == 0
    assert training.params == run.params
    assert training.moments == moments


def test_two_equal_answers_that_are_no_numbers_are_the_truth() -> None:
    training = training_of(small_run())

    assert not training.note_nonfinite(grad(payload=b"one"), "wa")
    assert training.note_nonfinite(grad(payload=b"one"), "wb")


def test_equal_answers_about_different_branches_say_nothing() -> None:
    training = training_of(small_run())

    assert not training.note_nonfinite(grad(lo=0, hi=1, payload=b"one"), "wa")
    assert not training.note_nonfinite(grad(lo=1, hi=2, payload=b"one"), "wb")


def test_a_branch_is_given_up_after_three_answers() -> None:
    training = training_of(small_run())

    answers = [training.note_nonfinite(grad(payload=bytes([i])), f"w{i}") for i in range(3)]

    assert answers == [False, False, True]


def test_who_failed_at_a_branch_is_remembered() -> None:
    training = training_of(small_run())
    training.note_nonfinite(grad(lo=0, hi=1), "wa")
    training.note_nonfinite(replace(grad(lo=1, hi=2), loss_sum=2.0), "wb")

    assert training.failed_by("wa") == [(0, 1)]
    assert training.failed_by("wb") == [(1, 2)]
    assert training.failed_by("wc") == []


def test_the_norms_are_those_of_each_matrix_of_the_mean_gradient() -> None:
    run = small_run(steps=2, batch_size=6, shards=1)
    training = training_of(run)
    total = np.arange(run.model.num_params, dtype=float)
    training.board.count((0, 1), BranchSum(1.5, total), "w")
    training.commit(training.reduce())

    norms = training.grad_norms()

    for matrix in layout_of(run.model):
        part = total[matrix.offset : matrix.offset + matrix.rows * matrix.columns] / 6
        assert norms[matrix.name] == pytest.approx(math.hypot(*part))
