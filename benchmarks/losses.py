"""What is timed must be right: its losses are those of the eager engine."""

from collections.abc import Callable, Sequence

from benchmarks.shards import single_documents
from engine.engines import engine_of
from engine.run import Run
from engine.shards import Tokens

CHECKED = 64  # documents of all lengths that occur


def check_losses(
    run: Run, losses_of: Callable[[Sequence[Tokens]], Sequence[float]], tolerance: float
) -> None:
    """Compare one padded shard's losses with the eager engine's.

    Raises:
        SystemExit: one of them is off by more than `tolerance`, relatively.
    """
    documents = [tokens for [tokens] in single_documents(run.documents, CHECKED)]
    expected = engine_of("eager", run.model).losses(run.params, documents)
    for tokens, ours, theirs in zip(documents, expected, losses_of(documents), strict=True):
        if not abs(theirs - ours) <= tolerance * abs(ours):
            raise SystemExit(
                f"expected a loss of {ours!r} to within {tolerance:g}, got {theirs!r}"
                f" — document {run.tokenizer.decode(tokens[1:-1])!r}; it computes something else"
            )
