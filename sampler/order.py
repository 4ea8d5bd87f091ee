"""What somebody wants drawn, and what they are given, whichever door they came through."""

import random
from dataclasses import dataclass

from engine.sample import generator
from sampler.model import ServedModel

STOP, LENGTH = "stop", "length"  # why a choice ended: BOS or a stop text, or no room for more


@dataclass(frozen=True, slots=True)
class Settings:
    """How documents are drawn.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_p: draw from the fewest likeliest tokens that have so much of the probability.
        max_tokens: drawn for each choice at most, BOS included; None is as many as fit.
        stop: texts that end a choice, and are not part of it.
        logprobs: score each token, and so many of the likeliest beside it; None scores none.
        scores_prompt: score the tokens of the prompt as well.
    """

    temperature: float = 0.5
    top_p: float = 1.0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    scores_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """What the model, at temperature 1, thought of one token in nats; BOS is "<BOS>" in `top`."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one choice, prompt excluded; a choice that is not streamed has one.

    Attributes:
        scores: of the prompt's tokens, if wanted, before those of the text.
        tokens: how many were drawn for it, BOS included.
        finish_reason: STOP or LENGTH for a choice's last piece; empty before.
    """

    choice: int
    text: str
    scores: tuple[Score, ...]
    tokens: int
    finish_reason: str


@dataclass(eq=False, slots=True)
class Order:
    """One request under way; all of its choices are drawn from one checkpoint.

    Attributes:
        prompts: tokens, fewer than block_size each; choice p * n + i is the i-th of prompt p.
        seed: of the drawing; None goes on with the run's own generator, one choice after another.
    """

    model: ServedModel
    prompts: tuple[tuple[int, ...], ...]
    n: int
    settings: Settings
    seed: int | None
    is_streamed: bool = False

    @property
    def choices(self) -> int:
        return len(self.prompts) * self.n

    def prompt(self, choice: int) -> tuple[int, ...]:
        return self.prompts[choice // self.n]

    def rng(self, choice: int) -> random.Random:
        """Give the generator of a choice; for the run's own, that of the first."""
        return self.model.microgpt_rng() if self.seed is None else generator(self.seed, choice)
