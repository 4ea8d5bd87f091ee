"""Summing a branch's gradients, a portion at a time, so that the caller can look up between two.

The worker walks the tree of `engine.tree` over its own part: the documents are cut into the shards
of the branch, a shard is summed from left to right, and the shards are added as the tree says. How
much of a shard is one portion, the engine says.
"""

from collections import deque
from collections.abc import Sequence

from engine.config import WorkConfig
from engine.gradient import Engine, GradientSum
from engine.params import Flat, from_bytes
from engine.shards import Tokens, cut_branch, shard_bounds
from engine.tree import Branch, tree_sum


class TaskMismatch(Exception):
    """Raised when a task's documents are not those of a branch of this run."""


def check_documents(work: WorkConfig, lo: int, hi: int, documents: Sequence[Tokens]) -> None:
    """Make sure that a branch can be computed, whoever sent it.

    Raises:
        TaskMismatch: it cannot.
    """
    if not 0 <= lo < hi <= work.shards:
        raise TaskMismatch(f"expected shards within 0 to {work.shards}, got {lo} to {hi} — task")
    first, _ = shard_bounds(lo, work.batch_size, work.shards)
    _, last = shard_bounds(hi - 1, work.batch_size, work.shards)
    if len(documents) != last - first:
        raise TaskMismatch(f"expected {last - first} documents, got {len(documents)} — task")
    model = work.model
    for tokens in documents:
        if not 2 <= len(tokens) <= model.block_size + 1 or max(tokens) >= model.vocab_size:
            raise TaskMismatch(
                f"expected 2 to {model.block_size + 1} tokens below {model.vocab_size},"
                f" got {len(tokens)} up to {max(tokens, default=0)} — task"
            )


class BranchComputation:
    """The sum over one branch, in the making.

    Attributes:
        documents_done: how many documents have been differentiated.
        total: the sum over the branch, once all of them are.
    """

    def __init__(
        self,
        engine: Engine,
        work: WorkConfig,
        params: Flat,
        documents: Sequence[Tokens],
        lo: int,
        hi: int,
    ) -> None:
        self._engine = engine
        self._params = params
        self._lo, self._hi = lo, hi
        shards = cut_branch(documents, lo, hi, work.batch_size, work.shards)
        self._portions = deque(
            (shard, portion)
            for shard, part in enumerate(shards, start=lo)
            for portion in engine.portions(part)
        )
        self._sums: dict[Branch, GradientSum] = {}
        self.documents_done = 0
        self.total: GradientSum | None = None

    def advance(self) -> None:
        """Differentiate one more portion."""
        shard, portion = self._portions.popleft()
        one = self._engine.gradient(self._params, portion)
        known = self._sums.get((shard, shard + 1))
        total = one if known is None else self._engine.plus(known, one)
        self._sums[(shard, shard + 1)] = total
        self.documents_done += len(portion)
        if not self._portions:
            self.total = tree_sum(self._lo, self._hi, self._sums.get, self._engine.plus)


def probe_portion(engine: Engine, work: WorkConfig) -> GradientSum:
    """Differentiate the largest portion that a task can bring, to see how long that takes."""
    model = work.model
    params = from_bytes(bytes(8 * model.num_params))
    longest = [0] * (model.block_size + 1)
    largest_shard = [longest] * -(-work.batch_size // work.shards)
    return engine.gradient(params, engine.portions(largest_shard)[0])
