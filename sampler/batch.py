"""The documents of one model that are being drawn side by side, a lane for each."""

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

import numpy as np

from engine.decode import LANES, Array, Decoder
from engine.sample import likeliest, nucleus
from sampler.model import ModelDiverged, ServedModel
from sampler.order import LENGTH, STOP, Order, Piece, Score

TILES = 8  # 128 documents at once
BOS_SHOWN = "<BOS>"  # characters are tokens, so no token can be called that


@dataclass(eq=False, slots=True)
class Drawing:
    """One choice of an order, in a lane.

    Attributes:
        text: drawn so far, all of it.
        shown: how much of the text was given away.
        tokens: drawn so far, BOS included.
        told: how many of them were told.
    """

    order: Order
    choice: int
    prompt: tuple[int, ...]
    rng: Random
    most: int  # tokens to draw
    token: int = 0  # the newest
    position: int = 0  # where it stands
    text: str = ""
    shown: int = 0
    tokens: int = 0
    told: int = 0
    scores: list[Score] = field(default_factory=list)


class Batch:
    """So many lanes of one model, most of them at different positions."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self._decoder = Decoder(model.weights, TILES)
        self._drawings: list[Drawing | None] = [None] * (TILES * LANES)
        self._tokens = np.zeros((TILES, LANES), np.int64)
        self._positions = np.zeros((TILES, LANES), np.int64)
        self._inverse = np.ones((TILES, 1, LANES))  # of each lane's temperature
        self._free = list(range(TILES * LANES))  # a heap: few documents sit in few tiles

    @property
    def is_full(self) -> bool:
        return not self._free

    @property
    def is_idle(self) -> bool:
        return len(self._free) == TILES * LANES

    def seat(self, order: Order, choice: int, rng: Random) -> None:
        """Begin to draw a choice in a free lane."""
        lane = heappop(self._free)
        prompt = order.prompt(choice)
        room = self.model.config.block_size - len(prompt)
        wanted = order.settings.max_tokens
        most = room if wanted is None else min(room, wanted)
        self._drawings[lane] = Drawing(order, choice, prompt, rng, most)
        self._tokens.flat[lane], self._positions.flat[lane] = self.model.tokenizer.bos, 0
        self._inverse[lane // LANES, 0, lane % LANES] = (order.settings.temperature or 1.0) ** -1

    def cancel(self, order: Order) -> None:
        for lane, drawing in enumerate(self._drawings):
            if drawing is not None and drawing.order is order:
                self._leave(lane)

    def advance(self) -> list[tuple[Drawing, Piece | ModelDiverged]]:
        """Take every document one token further; give what there is to tell of them."""
        taken = [(lane, one) for lane, one in enumerate(self._drawings) if one is not None]
        tiles = taken[-1][0] // LANES + 1
        logits = self._decoder.advance(self._tokens[:tiles], self._positions[:tiles])
        drawn = self._draw(logits, taken)
        logprobs = _logprobs(logits) if any(_is_scored(one) for _, one in taken) else None
        told: list[tuple[Drawing, Piece | ModelDiverged]] = []
        for lane, drawing in taken:
            tile, column = divmod(lane, LANES)
            row = None if logprobs is None else logprobs[tile, :, column].tolist()
            outcome = self._take(drawing, drawn[tile, column], row)
            if outcome is not None:
                told.append((drawing, outcome))
            if isinstance(outcome, ModelDiverged) or (outcome and outcome.finish_reason):
                self._leave(lane)
            else:
                self._tokens.flat[lane] = drawing.token
                self._positions.flat[lane] = drawing.position
        return told

    def _draw(self, logits: Array, taken: list[tuple[int, Drawing]]) -> Array:
        """Draw a token for each lane, (tiles, LANES), as `random.choices` would; NaN if diverged.

        A document that is inside its prompt uses no chance.
        """
        with np.errstate(all="ignore"):
            scaled = logits * self._inverse[: len(logits)]
            weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        is_number = np.isfinite(weights).all(axis=1)
        chances = np.zeros((len(logits), LANES))
        for lane, drawing in taken:
            if drawing.position < len(drawing.prompt):
                continue
            tile, column = divmod(lane, LANES)
            chances[tile, column] = drawing.rng.random()
            settings = drawing.order.settings
            if settings.temperature == 0:
                weights[tile, :, column] = likeliest(logits[tile, :, column].tolist())
            if settings.top_p < 1:
                kept = nucleus(weights[tile, :, column].tolist(), settings.top_p)
                weights[tile, :, column] = kept
        upto = np.add.accumulate(weights, axis=1)  # one after the other, by its definition
        total = upto[:, -1]
        tokens = np.count_nonzero(upto <= (chances * total)[:, None], axis=1)
        tokens = np.minimum(tokens, logits.shape[1] - 1).astype(np.float64)
        return np.where(is_number, tokens, np.nan)

    def _take(
        self, drawing: Drawing, drawn: float, logprobs: list[float] | None
    ) -> Piece | ModelDiverged | None:
        """Give a document its next token; say what there is to tell."""
        if math.isnan(drawn):
            return ModelDiverged(
                f"expected probabilities, got numbers that are not finite — step {self.model.step};"
                " training has diverged: lower --learning-rate"
            )
        settings = drawing.order.settings
        place, drawing.position = drawing.position, drawing.position + 1
        if place < len(drawing.prompt):
            drawing.token = drawing.prompt[place]
            if logprobs is not None and settings.scores_prompt:
                drawing.scores.append(self._score(drawing, logprobs))
            is_over = drawing.most == 0 and drawing.position == len(drawing.prompt)
            return _piece(drawing, LENGTH) if is_over else None
        if drawing.most == 0:
            return _piece(drawing, LENGTH)
        drawing.token = int(drawn)
        drawing.tokens += 1
        if drawing.token == self.model.tokenizer.bos:
            return _piece(drawing, STOP)
        drawing.text += self.model.tokenizer.characters[drawing.token]
        if logprobs is not None and settings.logprobs is not None:
            drawing.scores.append(self._score(drawing, logprobs))
        ending = next((stop for stop in settings.stop if drawing.text.endswith(stop)), "")
        if ending:
            drawing.text = drawing.text.removesuffix(ending)
            if drawing.scores:
                del drawing.scores[-len(ending) :]
            return _piece(drawing, STOP)
        if drawing.tokens == drawing.most:
            return _piece(drawing, LENGTH)
        return _piece(drawing, "") if drawing.order.is_streamed else None

    def _score(self, drawing: Drawing, logprobs: list[float]) -> Score:
        """Give what the model thought of a drawing's newest token."""
        names = [*self.model.tokenizer.characters, BOS_SHOWN]
        count = drawing.order.settings.logprobs or 0
        best = sorted(range(len(logprobs)), key=lambda token: -logprobs[token])[:count]
        top = tuple((names[token], logprobs[token]) for token in best)
        return Score(names[drawing.token], logprobs[drawing.token], top)

    def _leave(self, lane: int) -> None:
        self._drawings[lane] = None
        self._positions.flat[lane] = 0  # an empty lane looks at nothing
        heappush(self._free, lane)


def _piece(drawing: Drawing, finish_reason: str) -> Piece | None:
    """Give what is new of a drawing; None if that is nothing yet.

    Text that may be the beginning of a stop text is held back.
    """
    text = drawing.text
    end = len(text)
    if not finish_reason:
        for stop in drawing.order.settings.stop:
            for length in range(1, min(len(stop), len(text) + 1)):
                if text.endswith(stop[:length]):
                    end = min(end, len(text) - length)
        if end <= drawing.shown:
            return None
    held = len(text) - end
    scores = drawing.scores[: len(drawing.scores) - held]
    drawing.scores = drawing.scores[len(scores) :]
    tokens = drawing.tokens - held - drawing.told
    shown, drawing.shown = drawing.shown, end
    drawing.told += tokens
    return Piece(drawing.choice, text[shown:end], tuple(scores), tokens, finish_reason)


def _is_scored(drawing: Drawing) -> bool:
    return drawing.order.settings.logprobs is not None


def _logprobs(logits: Array) -> Array:
    """Give the logarithms of the probabilities at temperature 1."""
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        total = np.add.accumulate(np.exp(shifted), axis=1)[:, -1:]
        logprobs: Array = shifted - np.log(total)
    return logprobs
