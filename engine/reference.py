"""The whole training loop in one process: the oracle that the distributed run must equal.

Nothing here knows of workers. It walks the same shards and the same reduction tree, so its
parameters after every step are those of a run with any number of workers, bit for bit.
"""

from array import array
from collections.abc import Iterator, Sequence

from engine.config import ModelConfig
from engine.eager import GradientSum, document_gradient
from engine.optimizer import Moments, adam_update
from engine.params import Flat
from engine.run import Run
from engine.shards import Tokens, cut_branch, global_batch, order_by_length
from engine.tree import tree_sum


def shard_sum(config: ModelConfig, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
    """Sum a shard's documents from left to right, each differentiated from zero."""
    total: GradientSum | None = None
    for tokens in documents:
        one = document_gradient(config, params, tokens)
        total = one if total is None else total.plus(one)
    assert total is not None, "a shard has at least one document"
    return total


def train(run: Run) -> Iterator[tuple[float, Flat]]:
    """Yield the loss and the parameters after each step."""
    config = run.train
    params, moments = run.params, Moments.zeros(run.model.num_params)
    for step in range(config.steps):
        batch = order_by_length(global_batch(run.documents, step, config.batch_size))
        shards = cut_branch(batch, 0, config.shards, config.batch_size, config.shards)
        sums = {(i, i + 1): shard_sum(run.model, params, docs) for i, docs in enumerate(shards)}
        total = tree_sum(0, config.shards, sums.get, GradientSum.plus)
        grad = array("d", (g / config.batch_size for g in total.grad))
        params, moments = adam_update(config, step, params, moments, grad)
        yield total.loss / config.batch_size, params
