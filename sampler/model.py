"""The model that the sampler serves, and how it follows a run's newest checkpoint."""

import random
from contextlib import suppress
from pathlib import Path

from coordinator.checkpoint import Checkpoint
from coordinator.run_directory import RunDirectory
from engine.decode import Weights
from engine.errors import EngineError
from engine.tokenizer import Tokenizer


class ModelDiverged(EngineError):
    """Raised when a model's numbers are too large to draw from."""


class ServedModel:
    """One checkpoint, ready to be sampled.

    Attributes:
        run: id of the run.
        name: what people call the model: that of its documents.
        step: updates applied to its parameters.
        sha256: weights_sha256 of its parameters.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.model
        self.run = checkpoint.run
        self.name = _name(checkpoint.dataset.name)
        self.step = checkpoint.step
        self.sha256 = checkpoint.weights_sha256
        self.tokenizer = Tokenizer(checkpoint.characters)
        self.weights = Weights(checkpoint.model, checkpoint.params)
        self._rng_state = checkpoint.rng_state

    def check_prompt(self, prompt: str) -> list[int]:
        """Give the prompt's tokens.

        Raises:
            UnknownCharacter: the model has never seen one of its characters.
            ValueError: it leaves no position to predict.
        """
        tokens = self.tokenizer.encode(prompt)
        if len(tokens) >= self.config.block_size:
            raise ValueError(
                f"expected a prompt of fewer than {self.config.block_size} characters,"
                f" got {len(tokens)}; the model looks no further"
            )
        return tokens

    def microgpt_rng(self) -> random.Random:
        """Give the run's own generator where training left it, as microgpt samples."""
        rng = random.Random()
        rng.setstate(self._rng_state)
        return rng


def _name(dataset: str) -> str:
    """Name a model after its documents; the bundled list stands in for `names`."""
    return "names" if dataset == "bundled" else Path(dataset).stem or "names"


class Follower:
    """The newest valid checkpoint of a run directory that may still be growing, or not exist."""

    def __init__(self, path: Path) -> None:
        self._directory = RunDirectory(path)
        self._seen: tuple[list[int], bytes] = ([], b"")
        self.model: ServedModel | None = None

    def refresh(self) -> list[str]:
        """Load the newest checkpoint if there is another one; the last good one stays otherwise.

        Returns:
            What was wrong with those that could not be loaded.
        """
        seen = self._look()
        if seen == self._seen:
            return []
        checkpoint, complaints = self._directory.checkpoints.newest()
        self._seen = seen
        if checkpoint is not None and not self._serves_newer(checkpoint):
            self.model = ServedModel(checkpoint)
        return complaints

    def _look(self) -> tuple[list[int], bytes]:
        """Give what differs once there is another checkpoint: the steps, and the newest's record.

        A run that has gone back saves the same steps again.
        """
        store = self._directory.checkpoints
        steps = store.steps()
        record = b""
        if steps:
            _, record_path = store.paths(steps[0])
            with suppress(OSError):  # gone already: the next look finds others
                record = record_path.read_bytes()
        return steps, record

    def _serves_newer(self, checkpoint: Checkpoint) -> bool:
        """Say whether what is served is not older, and has not been revoked since."""
        model = self.model
        if model is None or model.run != checkpoint.run or model.step < checkpoint.step:
            return False
        return self._directory.checkpoints.holds(model.step, model.sha256)
