"""A branch summed a document at a time has the bits of the reference."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import TrainConfig, WorkConfig
from engine.eager import GradientSum
from engine.reference import shard_sum
from engine.run import prepare_run
from engine.shards import branch_documents, cut_branch, global_batch, order_by_length
from engine.tree import cut_branches, tree_sum
from worker.compute import BranchComputation, probe_document

pytestmark = pytest.mark.unit

TEXTS = ["abba", "ba", "a", "bab", "aab", "b", "abab"]
RUN = prepare_run(TEXTS, TrainConfig(1, 7, 5), {"n_embd": 1, "n_head": 1, "block_size": 4})


def computation(lo: int, hi: int, batch_size: int, shards: int) -> BranchComputation:
    batch = order_by_length(global_batch(RUN.documents, 0, batch_size))
    work = WorkConfig("eager", batch_size, shards, RUN.model)
    return BranchComputation(work, RUN.params, branch_documents(batch, lo, hi, shards), lo, hi)


def total_of(one: BranchComputation) -> GradientSum:
    while one.total is None:
        one.advance()
    return one.total


@settings(max_examples=40)
@given(st.integers(1, 14), st.data())
def test_any_branch_has_the_bits_of_the_reference(batch_size: int, data: st.DataObject) -> None:
    shards = data.draw(st.integers(1, batch_size))
    lo, hi = data.draw(st.sampled_from(cut_branches(shards, data.draw(st.integers(1, shards)))))
    batch = order_by_length(global_batch(RUN.documents, 0, batch_size))
    parts = cut_branch(batch, 0, shards, batch_size, shards)
    leaves = {(k, k + 1): shard_sum(RUN.model, RUN.params, parts[k]) for k in range(lo, hi)}

    total = total_of(computation(lo, hi, batch_size, shards))

    assert total == tree_sum(lo, hi, leaves.get, GradientSum.plus)


def test_the_total_is_there_after_the_last_document_and_not_before() -> None:
    one = computation(2, 4, 7, 5)

    states = []
    while one.total is None:
        states.append((one.documents_done, one.total))
        one.advance()

    assert states == [(0, None), (1, None), (2, None)]
    assert one.documents_done == 3


def test_the_probe_needs_neither_parameters_nor_documents() -> None:
    work = WorkConfig("eager", 7, 5, RUN.model)

    probe = probe_document(work)

    assert probe.loss == pytest.approx(math.log(RUN.model.vocab_size))
    assert len(probe.grad) == RUN.model.num_params
