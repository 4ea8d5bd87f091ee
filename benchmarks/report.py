"""The table: for people, and as JSON for whoever compares runs."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.timing import Spread

PEER = "PyTorch float64, batch 256"  # the row that all others are compared with

TIMES_PEER_MIN = {"compiled (512, 8)": 3.2, "compiled (512, 32)": 2.0}  # what we set out for
US_MAX = {"compiled one document": 500.0}


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Which documents the shards are from."""

    name: str
    documents: int
    positions: float  # mean of a document
    sha256: str


@dataclass(frozen=True, slots=True)
class Line:
    """What one row came to."""

    name: str
    documents: int  # timed in each round
    positions: float  # mean of a document
    us: Spread  # per document
    times_peer: Spread | None  # times as fast as PEER; None without torch


@dataclass(frozen=True, slots=True)
class Starts:
    """What processes need until their compiled engine is ready for every length."""

    ready_s: Spread
    rss_mb: Spread  # their greatest memory, after some shards
    cache_mb: Spread  # compiled kernels on disk, afterwards; 0 if they were compiled in vain


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark.

    Attributes:
        torch: why there are no rows of PyTorch, or nothing.
        gflops: float64 matrix product of 1024 x 1024 with one thread: what the core can do.
        flops: floating-point operations of a mean document of the dataset, both ways.
    """

    machine: dict[str, str]
    dataset: DatasetFacts
    rounds: int
    torch: str
    lines: list[Line]
    starts: dict[str, Starts]
    gflops: Spread
    flops: float

    @property
    def us_min(self) -> float:
        """The time of a mean document if nothing but arithmetic took any, in us."""
        return self.flops / self.gflops.high / 1e3


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    facts = report.dataset
    yield (
        f"dataset {facts.name}: {facts.documents:,} documents, {facts.positions:.2f} positions"
        f" each, sha256 {facts.sha256}"
    )
    yield (
        "forward + backward, float64 unless said; us per document,"
        f" median (lowest to highest) of {report.rounds} rounds"
    )
    yield ""
    yield f"{'':51}{'documents':>9} {'positions':>9} {'us per document':>30}  times {PEER}"
    for line in report.lines:
        yield (
            f"{line.name:51}{line.documents:>9,} {line.positions:>9.2f} {_spread(line.us):>30}"
            f"  {_times(line.times_peer)}"
        )
    if report.torch:
        yield f"no rows of PyTorch: {report.torch}"
    yield ""
    for name, start in report.starts.items():
        yield (
            f"{name} start: ready for every length after {_spread(start.ready_s)} s;"
            f" at most {start.rss_mb.high:,.0f} MB of memory, {start.cache_mb.high:.2f} MB cached"
        )
    yield (
        f"this core: {_spread(report.gflops)} GFLOP/s in a float64 matrix product (n = 1024);"
        f" a mean document is {report.flops:,.0f} operations, so {report.us_min:.2f} us at best"
    )
    yield from _goals(report)


def _goals(report: Report) -> Iterator[str]:
    for line in report.lines:
        if line.name in TIMES_PEER_MIN and line.times_peer is not None:
            wanted, got = TIMES_PEER_MIN[line.name], line.times_peer.median
            verdict = "met" if got >= wanted else "missed"
            yield f"goal {verdict}: {line.name} {got:.2f} times {PEER}; wanted {wanted:g}"
        if line.name in US_MAX:
            most, took = US_MAX[line.name], line.us.median
            verdict = "met" if took < most else "missed"
            yield f"goal {verdict}: {line.name} takes {took:,.0f} us; wanted below {most:g}"


def _spread(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _times(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.median:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
