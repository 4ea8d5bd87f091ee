"""Summing a branch's gradients, a portion at a time, so that the caller can look up between two.

Whoever sums a branch walks the tree of `engine.tree` over its part: the documents are cut into the
shards of the branch, a shard is summed from left to right, and the shards are added as the tree
says. How much of a shard is one portion, the engine says.
"""

from collections import deque
from collections.abc import Sequence

from engine.config import WorkConfig
from engine.gradient import Engine, GradientSum
from engine.params import Flat
from engine.shards import Tokens, cut_branch
from engine.tree import Branch, tree_sum


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
        branch: Branch,
    ) -> None:
        self._engine = engine
        self._params = params
        self._branch = branch
        shards = cut_branch(documents, *branch, work.batch_size, work.shards)
        self._portions = deque(
            (shard, portion)
            for shard, part in enumerate(shards, start=branch[0])
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
            self.total = tree_sum(*self._branch, self._sums.get, self._engine.plus)


def sum_branch(
    engine: Engine, work: WorkConfig, params: Flat, documents: Sequence[Tokens], branch: Branch
) -> GradientSum:
    """Give the sum over one branch in one go."""
    computation = BranchComputation(engine, work, params, documents, branch)
    while computation.total is None:
        computation.advance()
    return computation.total
