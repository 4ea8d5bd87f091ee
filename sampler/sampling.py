"""What is drawn next: orders in turn, their documents side by side, one token at a time.

Pure: it knows neither sockets nor clocks. Orders take turns choice by choice, so that one for a
thousand names does not make the others wait for all of them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sampler.batch import Batch
from sampler.model import ModelDiverged, ServedModel
from sampler.order import Order, Piece


@dataclass(eq=False, slots=True)
class Progress:
    """How far an open order is.

    Attributes:
        begun: its choices that were given a lane.
        ended: its choices that are drawn.
        rng: the run's own generator, if it draws with that one.
    """

    begun: int = 0
    ended: int = 0
    rng: Random | None = None


class Sampling:
    """The orders that are open, and the batches that draw them."""

    def __init__(self) -> None:
        self._progress: dict[Order, Progress] = {}
        self._waiting: deque[Order] = deque()  # with choices that have no lane yet
        self._batches: dict[ServedModel, Batch] = {}

    @property
    def num_open(self) -> int:
        return len(self._progress)

    def is_open(self, order: Order) -> bool:
        return order in self._progress

    def open(self, order: Order) -> None:
        rng = order.rng(0) if order.seed is None else None
        self._progress[order] = Progress(rng=rng)
        self._waiting.append(order)

    def cancel(self, order: Order) -> None:
        """Forget an order; one that is not open is forgotten already."""
        if self._progress.pop(order, None) is None:
            return
        if order in self._waiting:
            self._waiting.remove(order)
        if batch := self._batches.get(order.model):
            batch.cancel(order)

    def advance(self) -> list[tuple[Order, list[Piece] | ModelDiverged]]:
        """Take every document one token further; give each order's news."""
        self._seat()
        news: dict[Order, list[Piece] | ModelDiverged] = {}
        for model, batch in list(self._batches.items()):
            if not batch.is_idle:
                for drawing, outcome in batch.advance():
                    self._note(news, drawing.order, outcome)
            if batch.is_idle:
                del self._batches[model]
        return list(news.items())

    def _seat(self) -> None:
        later: deque[Order] = deque()
        while self._waiting:
            order = self._waiting.popleft()
            batch = self._batches.get(order.model)
            if batch is None:
                batch = self._batches[order.model] = Batch(order.model)
            progress = self._progress[order]
            is_busy = progress.rng is not None and progress.begun > progress.ended
            if is_busy or batch.is_full:
                later.append(order)
                continue
            batch.seat(order, progress.begun, progress.rng or order.rng(progress.begun))
            progress.begun += 1
            if progress.begun < order.choices:
                self._waiting.append(order)
        self._waiting = later

    def _note(
        self,
        news: dict[Order, list[Piece] | ModelDiverged],
        order: Order,
        outcome: Piece | ModelDiverged,
    ) -> None:
        known = news.setdefault(order, [])
        if isinstance(known, ModelDiverged):
            return
        if isinstance(outcome, ModelDiverged):
            news[order] = outcome
            self.cancel(order)
            return
        known.append(outcome)
        progress = self._progress[order]
        progress.ended += bool(outcome.finish_reason)
        if progress.ended == order.choices:
            del self._progress[order]


def draw_all(order: Order, tell: Callable[[Piece], None] = lambda _piece: None) -> list[str]:
    """Draw all of an order, without anybody else.

    Args:
        tell: told each piece when it is drawn.

    Returns:
        The text of each choice, prompts excluded.

    Raises:
        ModelDiverged: there are no probabilities to draw from.
    """
    sampling = Sampling()
    sampling.open(order)
    texts = [""] * order.choices
    while sampling.num_open:
        for _, outcome in sampling.advance():
            if isinstance(outcome, ModelDiverged):
                raise outcome
            for piece in outcome:
                texts[piece.choice] += piece.text
                tell(piece)
    return texts
