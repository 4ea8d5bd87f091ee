"""The whole training loop in one process: the oracle that the distributed run must equal.

Nothing here knows of workers. It walks the same shards and the same reduction tree, so its
parameters after every step are those of a run with any number of workers, bit for bit.
"""

from array import array
from collections.abc import Iterator

from engine.gradient import Engine
from engine.optimizer import Moments
from engine.params import Flat
from engine.run import Run
from engine.shards import cut_branch, global_batch, order_by_length
from engine.tree import tree_sum


def train(run: Run, engine: Engine) -> Iterator[tuple[float, Flat]]:
    """Yield the loss and the parameters after each step.

    Args:
        engine: that of the run's configuration and model.
    """
    config = run.train
    params, moments = run.params, Moments.zeros(run.model.num_params)
    for step in range(config.steps):
        batch = order_by_length(global_batch(run.documents, step, config.batch_size))
        shards = cut_branch(batch, 0, config.shards, config.batch_size, config.shards)
        sums = {(i, i + 1): engine.gradient(params, shard) for i, shard in enumerate(shards)}
        total = tree_sum(0, config.shards, sums.get, engine.plus)
        grad = array("d", (g / config.batch_size for g in total.grad))
        params, moments = engine.update(config, step, params, moments, grad)
        yield total.loss / config.batch_size, params
