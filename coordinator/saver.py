"""Making steps durable beside the loop: metrics first, then the checkpoint and its record.

A step that is durable has its line in metrics.jsonl, so that file reaches the disk before the
commit record does.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

from coordinator.checkpoint import Checkpoint
from coordinator.errors import CheckpointUnwritable
from coordinator.events import Saved, SaveFailed
from coordinator.metrics import Metrics
from coordinator.run_directory import RunDirectory
from coordinator.store import Keep

Answer: TypeAlias = Saved | SaveFailed


def saver(directory: RunDirectory, metrics: Metrics, keep: Keep) -> Callable[[Checkpoint], Answer]:
    """Give what saves a checkpoint; the lines of its steps have been written."""

    def save(checkpoint: Checkpoint) -> Answer:
        began_s = time.monotonic()
        try:
            metrics.sync()
            directory.checkpoints.save(checkpoint, keep)
        except CheckpointUnwritable as error:
            return SaveFailed(checkpoint.step, str(error))
        except OSError as error:
            return SaveFailed(checkpoint.step, unwritable(directory, error))
        return Saved(checkpoint.step, time.monotonic() - began_s)

    return save


def unwritable(directory: RunDirectory, error: OSError) -> str:
    """Say what keeps metrics from being written."""
    return f"expected room for metrics, got {error.strerror} — {directory.metrics}"
