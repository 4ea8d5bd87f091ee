"""A branch summed a portion at a time has the bits of the reference."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.branch import BranchComputation, sum_branch
from engine.config import TrainConfig, WorkConfig
from engine.eager import Eager
from engine.gradient import Engine, GradientSum
from engine.run import prepare_run
from engine.shards import Tokens, branch_documents, cut_branch, global_batch, order_by_length
from engine.tree import cut_branches, tree_sum

pytestmark = pytest.mark.unit

TEXTS = ["abba", "ba", "a", "bab", "aab", "b", "abab"]
RUN = prepare_run(TEXTS, TrainConfig(1, 7, 5), {"n_embd": 1, "n_head": 1, "block_size": 4})
ENGINE = Eager(RUN.model)


class Whole(Eager):
    """Looks up only between two shards, as an engine of lanes does."""

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        return [documents]


def documents_of(lo: int, hi: int, batch_size: int, shards: int) -> Sequence[Tokens]:
    batch = order_by_length(global_batch(RUN.documents, 0, batch_size))
    return branch_documents(batch, lo, hi, shards)


def total_of(lo: int, hi: int, batch_size: int, shards: int) -> GradientSum:
    documents = documents_of(lo, hi, batch_size, shards)
    work = WorkConfig("eager", batch_size, shards, RUN.model)
    return sum_branch(ENGINE, work, RUN.params, documents, (lo, hi))


def computation(
    lo: int, hi: int, batch_size: int, shards: int, engine: Engine = ENGINE
) -> BranchComputation:
    work = WorkConfig("eager", batch_size, shards, RUN.model)
    documents = documents_of(lo, hi, batch_size, shards)
    return BranchComputation(engine, work, RUN.params, documents, (lo, hi))


@settings(max_examples=40)
@given(st.integers(1, 14), st.data())
def test_any_branch_has_the_bits_of_the_reference(batch_size: int, data: st.DataObject) -> None:
    shards = data.draw(st.integers(1, batch_size))
    lo, hi = data.draw(st.sampled_from(cut_branches(shards, data.draw(st.integers(1, shards)))))
    batch = order_by_length(global_batch(RUN.documents, 0, batch_size))
    parts = cut_branch(batch, 0, shards, batch_size, shards)
    leaves = {(k, k + 1): ENGINE.gradient(RUN.params, parts[k]) for k in range(lo, hi)}

    total = total_of(lo, hi, batch_size, shards)

    assert total == tree_sum(lo, hi, leaves.get, ENGINE.plus)


def test_the_total_is_there_after_the_last_document_and_not_before() -> None:
    one = computation(2, 4, 7, 5)

    states = []
    while one.total is None:
        states.append((one.documents_done, one.total))
        one.advance()

    assert states == [(0, None), (1, None), (2, None)]
    assert one.documents_done == 3


def test_documents_are_counted_however_large_a_portion_is() -> None:
    one = computation(2, 5, 7, 5, Whole(RUN.model))

    counts = []
    while one.total is None:
        one.advance()
        counts.append(one.documents_done)

    assert counts == [2, 3, 5]  # the shards are [2, 4), [4, 5) and [5, 7)
    assert one.total == total_of(2, 5, 7, 5)
