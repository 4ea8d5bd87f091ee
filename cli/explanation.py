"""What `gradflock explain` finds out about one document, and how long each stage of that takes.

The same facts are printed as text (cli.explanation_text) and, with --json, as one object.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from cli.kernels import kept_library
from cli.view import say
from engine.compiled import Compiled
from engine.config import ModelConfig
from engine.contributions import Contribution, DocumentGraph, PathStep
from engine.fuse import REWRITES
from engine.model import document_loss
from engine.params import Flat, as_matrices, layout_of
from engine.scalar import OUT_OF_FLOATS, VALUES
from engine.shards import Tokens
from engine.tokenizer import Tokenizer
from engine.trace import trace_document
from engine.value import Value
from engine.vectorize import vectorize
from sampler.model import ModelDiverged

T = TypeVar("T")

REPLAYED = 64  # documents of one replay, to show what one costs among many


@dataclass(frozen=True, slots=True)
class ModelToExplain:
    """A model to explain; `source` says in words where its parameters are from."""

    source: str
    config: ModelConfig
    tokenizer: Tokenizer
    params: Flat


@dataclass(frozen=True, slots=True)
class PositionFacts:
    """One position of the document: what it reads, what it is to predict, how well it does."""

    position: int
    token: str
    token_id: int
    target: str
    target_id: int
    probability: float
    loss: float


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What one pass has left: how many of what, by operation."""

    name: str
    size: int
    of: str  # nodes or instructions
    operations: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happens to one document.

    Attributes:
        parameters: where they are from, in words.
        is_cut: the text is longer than block_size.
        program: the vector program, a line each.
        seconds: of each stage.
        difference: between the compiled and the eager gradient, at most, relative to the largest.
        path: from the chosen parameter to the loss; empty if none is chosen.
    """

    document: str
    parameters: str
    num_params: int
    is_cut: bool
    loss: float
    positions: Sequence[PositionFacts]
    passes: Sequence[PassFacts]
    seconds: Mapping[str, float]
    difference: float
    program: Sequence[str]
    path: Sequence[PathStep]

    def as_json(self, top: int) -> dict[str, Any]:
        """Give plain values; of each gradient on the path, the `top` largest contributions."""
        values = asdict(self)
        values["path"] = [
            {
                "node": asdict(step.node),
                "num_contributions": len(step.contributions),
                "contributions": [asdict(one) for one in largest(step.contributions, top)],
            }
            for step in self.path
        ]
        return values


def largest(contributions: Sequence[Contribution], top: int) -> list[Contribution]:
    return sorted(contributions, key=lambda one: -abs(one.value))[:top]


# ---- what happens to the document ---------------------------------------------------------------


class _Stopwatch:
    """Runs stages one after the other; `seconds` holds how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, action: Callable[[], T]) -> T:
        began_s = time.perf_counter()
        result = action()
        self.seconds[stage] = time.perf_counter() - began_s
        return result


def explain_document(
    model: ModelToExplain, text: str, tokens: Tokens, index: int | None
) -> Explanation:
    """Do to the document what each engine does, and keep what a reader may want to see.

    Args:
        index: of the parameter whose gradient is followed.

    Raises:
        ModelDiverged: the loss or a gradient is not finite.
    """
    watch = _Stopwatch()
    labelled = _differentiate(model, tokens, watch)
    counts = labelled.counts()
    graph = watch.time("trace", lambda: trace_document(model.config, len(tokens) - 1))
    passes = [
        PassFacts("eager", sum(counts.values()), "nodes", counts),
        PassFacts("trace", len(graph), "nodes", graph.counts()),
    ]
    for rewrite in REWRITES:
        graph = watch.time(rewrite.__name__, partial(rewrite, graph))
        passes.append(PassFacts(rewrite.__name__, len(graph), "nodes", graph.counts()))
    program = watch.time("vectorize", lambda: vectorize(graph, model.config.num_params))
    difference = _replay(model, tokens, labelled.grad, watch)
    operations = dict(Counter(one.op for one in program.instructions).most_common())
    passes.append(PassFacts("vectorize", len(program), "instructions", operations))
    return Explanation(
        document=text,
        parameters=model.source,
        num_params=model.config.num_params,
        is_cut=len(text) + 2 > len(tokens),
        loss=labelled.loss,
        positions=_positions(model.tokenizer, tokens, labelled),
        passes=passes,
        seconds=watch.seconds,
        difference=difference,
        program=program.text(layout_of(model.config)).splitlines(),
        path=() if index is None else labelled.path_from(index),
    )


def _differentiate(model: ModelToExplain, tokens: Tokens, watch: _Stopwatch) -> DocumentGraph:
    """Run the eager engine for its times, then once more with labels."""
    matrices = as_matrices(layout_of(model.config), [Value(param) for param in model.params])
    try:
        loss: Value = watch.time(
            "eager, forward", lambda: document_loss(VALUES, model.config, matrices, tokens)
        )
        watch.time("eager, backward", loss.backward)
        graph = DocumentGraph(model.config, model.params, tokens)
        is_finite = all(map(math.isfinite, (graph.loss, *graph.grad)))
    except OUT_OF_FLOATS:
        is_finite = False
    if not is_finite:
        raise _diverged(model)
    return graph


def _replay(model: ModelToExplain, tokens: Tokens, eager: Flat, watch: _Stopwatch) -> float:
    """Run the compiled engine for its times; give its largest difference from eager's gradient,
    as a part of the largest number in that."""
    library = watch.time("programs of every length", lambda: kept_library(model.config, say))
    replay = partial(Compiled(model.config, lambda _: library).gradient, model.params)
    watch.time("kernels ready (first replay)", lambda: replay([tokens]))
    found = watch.time("replay, forward and backward", lambda: replay([tokens]))
    many = f"replay of {REPLAYED} such documents, each"
    watch.time(many, lambda: replay([tokens] * REPLAYED))
    watch.seconds[many] /= REPLAYED
    if not all(map(math.isfinite, found.grad)):
        raise _diverged(model)
    difference = max(abs(a - b) for a, b in zip(eager, found.grad, strict=True))
    return difference / (max(map(abs, eager)) or 1.0)


def _diverged(model: ModelToExplain) -> ModelDiverged:
    return ModelDiverged(
        f"expected a loss and a gradient that are finite, got others — parameters {model.source};"
        " training has diverged: lower --learning-rate"
    )


def _positions(
    tokenizer: Tokenizer, tokens: Tokens, graph: DocumentGraph
) -> tuple[PositionFacts, ...]:
    words = [*tokenizer.characters, "BOS"]
    return tuple(
        PositionFacts(position, words[token], token, words[target], target, probability, loss)
        for position, ((token, target), probability, loss) in enumerate(
            zip(pairwise(tokens), graph.probabilities, graph.losses, strict=True)
        )
    )
