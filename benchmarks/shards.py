"""The documents that are timed: the shards of real steps of a run, cut as training cuts them."""

from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.timing import Row
from engine.shards import Tokens, cut_branch, global_batch, order_by_length

DOCUMENTS = 1536  # of every mixed row: 3 steps of 512, 6 batches of 256, 24 steps of 64

Shards = list[Sequence[Tokens]]


def single_documents(documents: Sequence[Tokens], count: int) -> Shards:
    """Give some of the first documents, each by itself, for what takes longer."""
    return [[tokens] for tokens in global_batch(documents, 0, DOCUMENTS)[:: DOCUMENTS // count]]


def mixed_shards(documents: Sequence[Tokens], batch_size: int, num_shards: int) -> Shards:
    """Give all shards of the first steps: ordered by length, then cut."""
    shards: Shards = []
    for step in range(DOCUMENTS // batch_size):
        ordered = order_by_length(global_batch(documents, step, batch_size))
        shards += cut_branch(ordered, 0, num_shards, batch_size, num_shards)
    return shards


def equal_shards(documents: Sequence[Tokens], lanes: int) -> Shards:
    """Give shards of documents that all have the commonest length."""
    (length, _), *_ = Counter(map(len, documents)).most_common(1)
    equal = [tokens for tokens in documents if len(tokens) == length]
    return [global_batch(equal, step, lanes) for step in range(DOCUMENTS // lanes)]


def random_batches(documents: Sequence[Tokens], batch_size: int) -> Shards:
    """Give the same documents in the order of the run, lengths as they come."""
    return [global_batch(documents, step, batch_size) for step in range(DOCUMENTS // batch_size)]


def mean_positions(documents: Sequence[Tokens]) -> float:
    return sum(len(tokens) - 1 for tokens in documents) / len(documents)


def row_of(
    name: str, shards: Shards, prepare: Callable[[Sequence[Tokens]], Callable[[], object]]
) -> Row:
    """Make the row that differentiates these shards one after another.

    Args:
        prepare: gives what differentiates one shard; it is called before the clock starts.
    """
    documents = [tokens for shard in shards for tokens in shard]
    calls = [prepare(shard) for shard in shards]

    def work() -> None:
        for call in calls:
            call()

    return Row(name, len(documents), mean_positions(documents), work)
