"""Lives of a coordinator, as its run directory sees them: each is production code from the lock to
the last save, in the order of coordinator/service.py, and says what others may rely on.
"""

import errno
import os
import random
import shutil
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.events import Saved
from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics
from coordinator.run_directory import REVOKED, RunDirectory
from coordinator.saver import saver
from coordinator.store import Keep
from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.run import prepare_run

KEEP = Keep(newest=3)
BEFORE = 4  # checkpoints that a run directory holds before a life begins: a save prunes one or two
GOOD = 2  # the last step that is not revoked, where a life goes back

SHAPE = {"n_embd": 4, "n_head": 1, "block_size": 3}  # half a file is more than its header

Tell = Callable[[str, int], None]  # "started" generation, "saved" step, "revoked" after step


class Unforeseen(Exception):
    """Raised when a save ends otherwise than with an answer."""


class Coordinator:
    """What a coordinator does to its directory, whose lock the caller holds.

    Attributes:
        resumed: the checkpoint that it goes on from.
        step: updates applied.
    """

    def __init__(
        self, directory: RunDirectory, tell: Tell, keep: Keep = KEEP, *, is_again: bool = False
    ) -> None:
        self._directory = directory
        self._tell = tell
        self._is_again = is_again
        self.resumed, _ = directory.checkpoints.newest()
        if self.resumed is not None:
            directory.checkpoints.set_aside_after(self.resumed.step)
        self.step = self.resumed.step if self.resumed else 0
        self.metrics = Metrics(directory.metrics, self.step)
        tell("started", directory.next_generation())
        if self.resumed is not None:
            tell("saved", self.step)  # from here on, the status says so
        self._save = saver(directory, self.metrics, keep)

    def commit(self) -> None:
        """Apply one more update, and write its line."""
        self.step += 1
        self.metrics.append(line_of(self.step, self._is_other))
        self.metrics.flush()

    def save(self) -> None:
        """Save the step; go on if the disk refuses."""
        try:
            if self._is_saved():
                self._tell("saved", self.step)
            self.metrics.flush()
        except Exception as error:
            raise Unforeseen(self.step) from error

    def go_back(self, step: int) -> None:
        """Revoke what comes after a step; from there on, all steps come out otherwise."""
        self._directory.revoke(step)
        self._tell("revoked", step)
        self._is_again = True
        self.step = step
        self.metrics.go_back(step)

    @property
    def _is_other(self) -> bool:
        return self._is_again and self.step > GOOD

    def _is_saved(self) -> bool:
        try:
            self.metrics.settle()
        except OSError:
            return False
        return isinstance(self._save(state_at(self.step, self._is_other)), Saved)


@dataclass(frozen=True, slots=True)
class Life:
    """One life.

    Attributes:
        prepare: makes the run directory that it begins with.
        live: everything after the lock is taken.
        floor: the step that is durable before it begins; -1 if there is none.
        goes_back: it does so to GOOD, as soon as it has begun.
        is_again: original steps after GOOD are revoked from the beginning.
        spoilt: the step whose checkpoint is not valid.
    """

    name: str
    prepare: Callable[[Path], None]
    live: Callable[[RunDirectory, Tell], None]
    floor: int = BEFORE
    goes_back: bool = False
    is_again: bool = False
    spoilt: int | None = None


@cache
def state_at(step: int, is_again: bool = False) -> Checkpoint:
    """Give the checkpoint of a step; after going back it is another one."""
    run = prepare_run(["ab"], TrainConfig(steps=99, batch_size=1, shards=1), SHAPE)
    rng = random.Random(2 * step + is_again)
    vectors = [array("d", map(rng.gauss, [0.0] * run.model.num_params)) for _ in range(3)]
    return Checkpoint(
        run="5f" * 16,
        step=step,
        loss=rng.random() if step else None,
        model=run.model,
        train=run.train,
        dataset=DatasetRecord("names", 7, "ab" * 32),
        characters="ab",
        rng_state=(3, tuple(rng.getrandbits(32) for _ in range(8)), None),
        params=vectors[0],
        moments=Moments(vectors[1], vectors[2]),
        contributors={"w1-5f": 0, "w2-a0": step // 2},
    )


def line_of(step: int, is_again: bool = False) -> StepCommitted:
    return StepCommitted(step, 1.0 / step + is_again, 6, 0.25, 2, 0.01)


# ---- what they begin with ------------------------------------------------------------------------


def _nothing(path: Path) -> None:
    pass


def _checkpoints(path: Path) -> None:
    directory = RunDirectory(path)
    with directory.lock():
        coordinator = Coordinator(directory, _tell_nobody, Keep(BEFORE))
        with coordinator.metrics:
            for _ in range(BEFORE):
                coordinator.commit()
                coordinator.save()


def _spoilt_checkpoint(path: Path) -> None:
    _checkpoints(path)
    data_path, _ = RunDirectory(path).checkpoints.paths(BEFORE)
    data = bytearray(data_path.read_bytes())
    data[-1] ^= 1
    data_path.write_bytes(data)


def _leftovers(path: Path) -> None:
    """Someone died while going back, and left all else that a crash can leave as well."""
    _checkpoints(path)
    (path / REVOKED).write_text(str(GOOD))
    data_path, record_path = RunDirectory(path).checkpoints.paths(BEFORE + 1)
    shutil.copy(RunDirectory(path).checkpoints.paths(BEFORE)[0], data_path)
    record_path.with_name(f".{record_path.name}.tmp").write_text("half")


def _tell_nobody(word: str, number: int) -> None:
    pass


# ---- the lives -----------------------------------------------------------------------------------


def _go_on(directory: RunDirectory, tell: Tell, *, is_again: bool = False) -> None:
    coordinator = Coordinator(directory, tell, is_again=is_again)
    with coordinator.metrics:
        if coordinator.resumed is None:
            coordinator.save()
        for _ in range(2):
            coordinator.commit()
            coordinator.save()


def _go_on_after_going_back(directory: RunDirectory, tell: Tell) -> None:
    _go_on(directory, tell, is_again=True)


def _go_back(directory: RunDirectory, tell: Tell) -> None:
    coordinator = Coordinator(directory, tell)
    with coordinator.metrics:
        coordinator.go_back(GOOD)
        for _ in range(2):
            coordinator.commit()
            coordinator.save()


def _be_refused_metrics(directory: RunDirectory, tell: Tell) -> None:
    """Once; then they are written anew, and meanwhile the run goes on."""
    coordinator = Coordinator(directory, tell)
    with coordinator.metrics:
        coordinator.commit()
        with _no_fsync():
            coordinator.save()
        for _ in range(2):
            coordinator.commit()
            coordinator.save()


@contextmanager
def _no_fsync() -> Iterator[None]:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        yield


LIVES = (
    Life("begins", _nothing, _go_on, floor=-1),
    Life("goes on", _checkpoints, _go_on),
    Life("is refused metrics once", _checkpoints, _be_refused_metrics),
    Life("finds a spoilt checkpoint", _spoilt_checkpoint, _go_on, BEFORE - 1, spoilt=BEFORE),
    Life("goes back", _checkpoints, _go_back, GOOD, goes_back=True),
    Life("finishes going back", _leftovers, _go_on_after_going_back, GOOD, is_again=True),
)
