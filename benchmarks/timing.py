"""Several pieces of work timed side by side, in rounds.

A round times every row once, and each round begins with another row: what the machine does
meanwhile (its clock, its neighbours) hits all rows alike. Ratios are taken within a round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: work that differentiates `documents` documents when it is called."""

    name: str
    documents: int
    positions: float  # mean of a document
    work: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Spread:
    """What the rounds said about one quantity."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        return cls(median(samples), min(samples), max(samples))


def time_rows(
    rows: Sequence[Row], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Time every row in every round, after one call that is not timed.

    Args:
        clock: gives seconds.

    Returns:
        Row name -> seconds per document, one for each round.
    """
    for row in rows:
        row.work()
    samples: dict[str, list[float]] = {row.name: [] for row in rows}
    for first in range(rounds):
        for i in range(len(rows)):
            row = rows[(first + i) % len(rows)]
            began_s = clock()
            row.work()
            samples[row.name].append((clock() - began_s) / row.documents)
    return samples


def times_as_fast(samples: Mapping[str, Sequence[float]], name: str, peer: str) -> Spread:
    """Say how many times as fast as the peer a row is, compared round by round."""
    return Spread.of([b / a for a, b in zip(samples[name], samples[peer], strict=True)])


def brief(spread: Spread) -> str:
    """Write a spread for people, with three digits, or all before the point."""
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
