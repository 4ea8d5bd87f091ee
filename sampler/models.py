"""Which models can be asked for: the newest checkpoint, and every one that a run keeps.

`names` is the newest, `names@500` the one after 500 steps.
"""

from contextlib import suppress
from pathlib import Path
from threading import Lock

from coordinator.errors import CheckpointCorrupt
from coordinator.run_directory import RunDirectory
from sampler.model import Follower, ServedModel

LOADED_MAX = 8  # older checkpoints kept in memory


class Models:
    """The models of one run; for any thread."""

    def __init__(self, path: Path) -> None:
        self._follower = Follower(path)
        self._store = RunDirectory(path).checkpoints
        self._loaded: dict[int, ServedModel] = {}  # the last asked for is the last
        self._lock = Lock()

    @property
    def newest(self) -> ServedModel | None:
        return self._follower.model

    def refresh(self) -> list[str]:
        """Follow the run; see Follower."""
        return self._follower.refresh()

    def ids(self) -> list[tuple[str, int]]:
        """Give each model's id and when it was saved, seconds since 1970; the newest first."""
        newest = self.newest
        if newest is None:
            return []
        saved = {}
        for step in self._store.steps():
            with suppress(OSError):  # gone meanwhile
                saved[step] = int(self._store.paths(step)[1].stat().st_mtime)
        ids = [(f"{newest.name}@{step}", when) for step, when in saved.items()]
        return [(newest.name, saved.get(newest.step, max(saved.values(), default=0))), *ids]

    def find(self, model_id: str) -> ServedModel | None:
        """Give a model, from disk if need be; None if there is none of that id."""
        newest = self.newest
        if newest is None:
            return None
        name, at, said = model_id.rpartition("@")
        if model_id == newest.name:
            return newest
        is_step = said.isascii() and said.isdecimal() and len(said) <= 18
        if not at or name != newest.name or not is_step:
            return None
        step = int(said)
        with self._lock:
            return self._at(step)

    def _at(self, step: int) -> ServedModel | None:
        model = self._loaded.pop(step, None)
        if model is None or not self._store.holds(step, model.sha256):  # a run may go back
            try:
                model = ServedModel(self._store.load(step))
            except CheckpointCorrupt:
                return None
        self._loaded[step] = model
        if len(self._loaded) > LOADED_MAX:
            del self._loaded[next(iter(self._loaded))]
        return model
