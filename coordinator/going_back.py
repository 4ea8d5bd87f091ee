"""Going back beside the loop: to the newest checkpoint from before a lie, or to the start."""

from coordinator.errors import CheckpointUnwritable
from coordinator.events import GoBackFailed, WentBack
from coordinator.run_directory import RunDirectory
from engine.optimizer import Moments
from engine.run import Run


def go_back(directory: RunDirectory, run: Run, step: int) -> WentBack | GoBackFailed:
    """Revoke every checkpoint after a step, and load the newest that is left."""
    try:
        directory.revoke(step)
        checkpoint, complaints = directory.checkpoints.newest()
        directory.checkpoints.set_aside_after(-1 if checkpoint is None else checkpoint.step)
    except CheckpointUnwritable as error:
        return GoBackFailed(str(error))
    if checkpoint is None:
        moments = Moments.zeros(run.model.num_params)
        return WentBack(0, run.params, moments, None, -1, tuple(complaints))
    return WentBack(
        step=checkpoint.step,
        params=checkpoint.params,
        moments=checkpoint.moments,
        loss=checkpoint.loss,
        durable_step=checkpoint.step,
        complaints=tuple(complaints),
    )
