"""A process that does nothing but save: checkpoints that are each a function of their step alone.

Run as `python -m tests.integration.saves RUN_DIR KEEP`; it saves until it is killed.
"""

import itertools
import sys
from array import array
from pathlib import Path

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.run_directory import RunDirectory
from coordinator.store import Keep
from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.run import prepare_run
from tests.integration.oracle import DOCUMENTS

RUN = prepare_run(DOCUMENTS, TrainConfig(9, 8, 8), {"n_embd": 16, "n_head": 4, "block_size": 6})


def checkpoint(step: int) -> Checkpoint:
    """Give a checkpoint in which every number depends on the step, so that no mixture is one."""
    scale = 10 + step / 2**20  # so far from the start that a sample depends on it
    start = step % len(RUN.params)
    params = array("d", (scale * value for value in RUN.params[start:] + RUN.params[:start]))
    moments = Moments(array("d", [float(step)]) * len(params), array("d", [scale]) * len(params))
    return Checkpoint(
        run="5a" * 16,
        step=step,
        loss=float(step),
        model=RUN.model,
        train=RUN.train,
        dataset=DatasetRecord("documents", len(DOCUMENTS), "ab" * 32),
        characters=RUN.tokenizer.characters,
        rng_state=RUN.rng_state,
        params=params,
        moments=moments,
    )


def save_for_ever(path: Path, keep: Keep) -> None:
    directory = RunDirectory(path)
    with directory.lock():
        for step in itertools.count():
            directory.checkpoints.save(checkpoint(step), keep)


if __name__ == "__main__":
    save_for_ever(Path(sys.argv[1]), Keep(newest=int(sys.argv[2])))
