"""What is timed are the shards that training would cut."""

import pytest

from benchmarks.shards import (
    DOCUMENTS,
    equal_shards,
    mixed_shards,
    random_batches,
    row_of,
    single_documents,
)
from engine.shards import Tokens

pytestmark = pytest.mark.unit

RUN: list[Tokens] = [[i] * (2 + i % 7 % 5) for i in range(2000)]  # tokens say which document it is


@pytest.mark.parametrize(("batch_size", "num_shards"), [(512, 8), (512, 32), (64, 4)])
def test_mixed_shards_hold_the_documents_of_the_first_steps_once(
    batch_size: int, num_shards: int
) -> None:
    shards = mixed_shards(RUN, batch_size, num_shards)

    assert {len(shard) for shard in shards} == {batch_size // num_shards}
    assert sorted(tokens[0] for shard in shards for tokens in shard) == [*range(DOCUMENTS)]


def test_a_mixed_shard_is_a_part_of_its_step_ordered_by_length() -> None:
    first_step = [tokens for shard in mixed_shards(RUN, 512, 8)[:8] for tokens in shard]

    assert first_step == sorted(RUN[:512], key=len)


def test_lanes_of_equal_length_have_the_commonest_one() -> None:
    shards = equal_shards(RUN, 16)

    assert {len(shard) for shard in shards} == {16}
    assert {len(tokens) for shard in shards for tokens in shard} == {2}


def test_the_peer_is_given_the_same_documents_in_the_order_of_the_run() -> None:
    batches = random_batches(RUN, 256)

    assert [tokens for batch in batches for tokens in batch] == RUN[:DOCUMENTS]


def test_single_documents_are_spread_over_the_same_steps() -> None:
    assert [shard[0][0] for shard in single_documents(RUN, 3)] == [0, 512, 1024]


def test_a_row_prepares_its_shards_before_and_differentiates_them_when_called() -> None:
    prepared: list[int] = []
    differentiated: list[int] = []

    def prepare(shard: list[Tokens]) -> object:
        prepared.append(len(shard))
        return lambda: differentiated.append(len(shard))

    row = row_of("both", [[[0, 1], [0, 1, 2]], [[0, 1, 2, 3]]], prepare)  # type: ignore[arg-type]
    assert (row.documents, row.positions, prepared, differentiated) == (3, 2.0, [2, 1], [])
    row.work()

    assert differentiated == [2, 1]
