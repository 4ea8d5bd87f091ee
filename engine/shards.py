"""Which documents make a step, and how they are cut into shards.

The cut depends on the documents, the batch and the number of shards, never on the workers.
"""

import hashlib
import random
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S", bound=Sized)

Tokens = Sequence[int]


def shuffled(documents: Sequence[str], rng: random.Random) -> list[str]:
    """Give the documents in the order of the run; the first thing its generator does."""
    order = list(documents)
    rng.shuffle(order)
    return order


def hold_out(documents: Sequence[str], seed: int, fraction: float) -> tuple[list[str], list[str]]:
    """Split the documents into those to train on and those that no step ever sees.

    A hash of (seed, text) decides, so that repeats of a text fall on one side, and neither the
    generator nor the order of the rest is touched.
    """
    train: list[str] = []
    held_out: list[str] = []
    for document in documents:
        digest = hashlib.sha256(f"{seed}:{document}".encode()).digest()
        is_held_out = int.from_bytes(digest[:8], "big") < fraction * 2**64
        (held_out if is_held_out else train).append(document)
    return train, held_out


def global_batch(documents: Sequence[T], step: int, batch_size: int) -> list[T]:
    """Give the documents of a step, counted from 0; they wrap around at the end of an epoch."""
    first = step * batch_size
    return [documents[(first + i) % len(documents)] for i in range(batch_size)]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next step's documents begin.

    Attributes:
        epoch: how often every document has been seen.
        position: place of the next document, in the order of the run.
    """

    epoch: int
    position: int


def cursor(step: int, batch_size: int, num_documents: int) -> Cursor:
    """Give the place of the first document of a step, counted from 0."""
    return Cursor(*divmod(step * batch_size, num_documents))


def order_by_length(batch: Sequence[S]) -> list[S]:
    """Order a global batch by (length, index), so that a shard's documents are of like length."""
    return sorted(batch, key=len)  # sorted is stable


def shard_bounds(shard: int, num_documents: int, num_shards: int) -> tuple[int, int]:
    """Give the documents [first, last) of a shard, as places in the ordered global batch."""
    return shard * num_documents // num_shards, (shard + 1) * num_documents // num_shards


def branch_documents(ordered: Sequence[T], lo: int, hi: int, num_shards: int) -> Sequence[T]:
    """Give the documents of the branch (lo, hi) of an ordered global batch."""
    first, _ = shard_bounds(lo, len(ordered), num_shards)
    _, last = shard_bounds(hi - 1, len(ordered), num_shards)
    return ordered[first:last]


def cut_branch(
    documents: Sequence[Tokens], lo: int, hi: int, batch_size: int, num_shards: int
) -> list[Sequence[Tokens]]:
    """Cut a branch's documents into its shards, without the rest of the global batch."""
    origin, _ = shard_bounds(lo, batch_size, num_shards)
    shards = []
    for shard in range(lo, hi):
        first, last = shard_bounds(shard, batch_size, num_shards)
        shards.append(documents[first - origin : last - origin])
    return shards
