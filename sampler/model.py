"""The model that the sampler serves, and how it follows a run's newest checkpoint."""

import random
from pathlib import Path

from coordinator.checkpoint import Checkpoint, RunDirectory
from engine.params import as_matrices, layout_of
from engine.sample import sample_tokens
from engine.tokenizer import Tokenizer


class ServedModel:
    """One checkpoint, ready to be sampled.

    Attributes:
        step: updates applied to its parameters.
        sha256: weights_sha256 of its parameters.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.model
        self.step = checkpoint.step
        self.sha256 = checkpoint.weights_sha256
        self.tokenizer = Tokenizer(checkpoint.characters)
        self._matrices = as_matrices(layout_of(checkpoint.model), checkpoint.params.tolist())
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

    def draw(
        self, rng: random.Random, temperature: float, prompt: list[int], max_tokens: int | None
    ) -> str:
        """Draw one document, prompt included."""
        tokens = sample_tokens(self.config, self._matrices, rng, temperature, prompt, max_tokens)
        return self.tokenizer.decode(tokens)


class Follower:
    """The newest valid checkpoint of a run directory that may still be growing, or not exist."""

    def __init__(self, path: Path) -> None:
        self._directory = RunDirectory(path)
        self._newest_seen: list[int] = []
        self.model: ServedModel | None = None

    def refresh(self) -> list[str]:
        """Load the newest checkpoint if there is a newer one; the last good one stays otherwise.

        Returns:
            What was wrong with those that could not be loaded.
        """
        steps = self._directory.steps()
        if steps == self._newest_seen:
            return []
        self._newest_seen = steps
        checkpoint, complaints = self._directory.newest()
        if checkpoint is not None:
            self.model = ServedModel(checkpoint)
        return complaints
