"""Names drawn from each checkpoint with one seed, so that the same draws become names.

The newest checkpoint is drawn from when it appears. Older ones that are still there when the
dashboard starts, or that came between two looks, follow after it, one at a time.
"""

from dataclasses import dataclass
from pathlib import Path

from coordinator.checkpoint import Checkpoint
from coordinator.errors import CheckpointCorrupt
from coordinator.run_directory import RunDirectory
from sampler.model import ModelDiverged, ServedModel
from sampler.order import Order, Settings
from sampler.sampling import draw_all

NAMES = 8
SEED = 1
CHECKPOINTS_MAX = 40


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one checkpoint invents.

    Attributes:
        steps: that its run was to have in all.
        is_newest: whatever was drawn from later steps is of a past that the run has left.
        trouble: why there are no names; empty if there are.
    """

    run: str
    step: int
    steps: int
    names: tuple[str, ...]
    is_newest: bool
    trouble: str = ""


class Drawings:
    """The checkpoints of a run directory, each drawn from once."""

    def __init__(self, path: Path) -> None:
        self._store = RunDirectory(path).checkpoints
        self._seen: tuple[int, str] | None = None  # the newest record: its step and weights
        self._older: list[int] = []  # not drawn from yet, newest first

    def look(self) -> Drawing | None:
        """Draw from one checkpoint that was not drawn from yet; None if there is none."""
        steps = self._store.steps()
        if not steps:
            return None
        newest = self._record(steps[0])
        if newest == self._seen:
            return self._older_one()
        seen, self._seen = self._seen, newest
        checkpoint, _ = self._store.newest()
        if checkpoint is None:
            return None
        after = -1 if seen is None else seen[0]
        missed = [step for step in steps if after < step < checkpoint.step]
        self._older = [*missed, *self._older][: CHECKPOINTS_MAX - 1]
        return _drawn(checkpoint, is_newest=True)

    def _record(self, step: int) -> tuple[int, str]:
        """Say which checkpoint it is: a run that has gone back saves the same steps again."""
        try:
            return step, str(self._store.record(step)["weights_sha256"])
        except CheckpointCorrupt:
            return step, ""

    def _older_one(self) -> Drawing | None:
        while self._older:
            try:
                return _drawn(self._store.load(self._older.pop(0)), is_newest=False)
            except CheckpointCorrupt:  # or gone meanwhile
                continue
        return None


def _drawn(checkpoint: Checkpoint, *, is_newest: bool) -> Drawing:
    facts = (checkpoint.run, checkpoint.step, checkpoint.train.steps)
    order = Order(ServedModel(checkpoint), prompts=((),), n=NAMES, settings=Settings(), seed=SEED)
    try:
        return Drawing(*facts, tuple(draw_all(order)), is_newest)
    except ModelDiverged as error:
        return Drawing(*facts, (), is_newest, str(error))
