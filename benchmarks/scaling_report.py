"""What the rounds of `benchmarks/scaling.py` come to: ratios within each round, and the table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.amdahl import serial_fraction
from benchmarks.timing import Spread, brief

OURS, DDP, TUNED = "gradflock", "DDP", "DDP tuned"

TIMES_DDP_MIN = {64: 4.0, 512: 3.5}  # batch -> what we set out for with two workers
OVERHEAD_US_MAX = {64: 400.0}
JUDGED = 2  # workers, and processes of the peer


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to train: whose program, documents of a step, processes that compute."""

    kind: str
    batch: int
    workers: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a cell: its median step, and where that went if the run tells."""

    step_s: float
    overhead_s: float | None = None
    phases_s: Mapping[str, float] | None = None


Round = Mapping[Cell, Sample]


@dataclass(frozen=True, slots=True)
class Line:
    """What one cell came to.

    Attributes:
        speed_up: by the same program with one process.
        times_ddp, times_tuned: documents/s by those of the peer with two processes.
        overhead_us: of a step, all that is not the phase `compute`.
        phases_us: the median of each phase; empty if runs do not tell.
    """

    cell: Cell
    steps_per_s: Spread
    documents_per_s: Spread
    speed_up: Spread | None
    efficiency: Spread | None
    times_ddp: Spread | None
    times_tuned: Spread | None
    overhead_us: Spread | None
    phases_us: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark; `serial_fractions` by batch, `torch` why there is no peer."""

    machine: dict[str, str]
    dataset: str
    shards: dict[int, int]
    steps: int
    rounds: int
    torch: str
    lines: list[Line]
    serial_fractions: dict[int, Spread]


def lines_from(rounds: Sequence[Round]) -> list[Line]:
    """Compare the cells of each round with each other."""
    return [_line(cell, rounds) for cell in rounds[0]]


def serial_fractions(rounds: Sequence[Round]) -> dict[int, Spread]:
    """Fit Amdahl's law to our cells of each batch, round by round."""
    fractions = {}
    for batch in dict.fromkeys(cell.batch for cell in rounds[0]):
        fits = [
            serial_fraction(
                {
                    cell.workers: sample.step_s
                    for cell, sample in one.items()
                    if (cell.kind, cell.batch) == (OURS, batch)
                }
            )
            for one in rounds
        ]
        known = [fit for fit in fits if fit is not None]
        if known:
            fractions[batch] = Spread.of(known)
    return fractions


def _line(cell: Cell, rounds: Sequence[Round]) -> Line:
    samples = [one[cell] for one in rounds]
    speed_up = _times(cell, Cell(cell.kind, cell.batch, 1), rounds)
    overheads = [1e6 * one.overhead_s for one in samples if one.overhead_s is not None]
    phases = [one.phases_s for one in samples if one.phases_s]
    return Line(
        cell=cell,
        steps_per_s=Spread.of([1 / one.step_s for one in samples]),
        documents_per_s=Spread.of([cell.batch / one.step_s for one in samples]),
        speed_up=speed_up,
        efficiency=None if speed_up is None else _divided(speed_up, cell.workers),
        times_ddp=_times(cell, Cell(DDP, cell.batch, JUDGED), rounds),
        times_tuned=_times(cell, Cell(TUNED, cell.batch, JUDGED), rounds),
        overhead_us=Spread.of(overheads) if overheads else None,
        phases_us={name: 1e6 * median(one[name] for one in phases) for name in phases[0]}
        if phases
        else {},
    )


def _times(cell: Cell, other: Cell, rounds: Sequence[Round]) -> Spread | None:
    """Say how many times as fast as another cell a cell is; None without another."""
    if other == cell or other not in rounds[0]:
        return None
    return Spread.of([one[other].step_s / one[cell].step_s for one in rounds])


def _divided(spread: Spread, by: int) -> Spread:
    return Spread(spread.median / by, spread.low / by, spread.high / by)


# ---- for people ----------------------------------------------------------------------------------


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    shards = ", ".join(f"{count} at {batch}" for batch, count in report.shards.items())
    yield (
        f"dataset {report.dataset}; runs of {report.steps:,} steps, shards {shards};"
        f" by the median step of a run; median (lowest to highest) of {report.rounds} rounds"
    )
    yield ""
    yield "whose program, how many compute at how many documents of a step"
    yield (
        f"{'':28}{'steps/s':>24}  {'documents/s':>32}  {'by one process':>22}  {'efficiency':>10}"
        f"  {'by DDP of 2':>22}  {'by tuned DDP of 2':>22}"
    )
    for line in report.lines:
        efficiency = "-" if line.efficiency is None else f"{line.efficiency.median:.2f}"
        yield (
            f"{_name(line.cell):28}{brief(line.steps_per_s):>24}"
            f"  {brief(line.documents_per_s):>32}  {_brief(line.speed_up):>22}  {efficiency:>10}"
            f"  {_brief(line.times_ddp):>22}  {_brief(line.times_tuned):>22}"
        )
    if report.torch:
        yield f"no rows of DDP: {report.torch}"
    yield from _overheads(report)
    yield ""
    for batch, spread in report.serial_fractions.items():
        yield (
            f"serial fraction at {batch} documents: {brief(spread)}"
            " (T(n) = serial + parallel / n, fitted over 1 / n; of T(1))"
        )
    yield from _goals(report)


def _overheads(report: Report) -> Iterator[str]:
    told = [line for line in report.lines if line.overhead_us is not None]
    if not told:
        return
    names = list(told[0].phases_us)
    yield ""
    yield f"{'us of a step':28}{'all but compute':>24}" + "".join(f"{n:>12}" for n in names)
    for line in told:
        phases = "".join(f"{line.phases_us.get(name, 0):>12,.0f}" for name in names)
        yield f"{_name(line.cell):28}{_brief(line.overhead_us):>24}{phases}"


def _goals(report: Report) -> Iterator[str]:
    for line in report.lines:
        cell = line.cell
        if cell.kind != OURS or cell.workers != JUDGED:
            continue
        wanted = TIMES_DDP_MIN.get(cell.batch)
        if wanted is not None and line.times_ddp is not None:
            got = line.times_ddp.median
            yield f"goal {_verdict(got >= wanted)}: {_name(cell)}: {got:.2f} times DDP of 2" + (
                f" processes; wanted {wanted:g}"
            )
        if line.speed_up is not None:
            got = line.speed_up.median
            yield f"goal {_verdict(got > 1)}: {_name(cell)}: {got:.2f} times one worker" + (
                "; wanted above 1"
            )
        most = OVERHEAD_US_MAX.get(cell.batch)
        if most is not None and line.overhead_us is not None:
            took = line.overhead_us.median
            yield f"goal {_verdict(took < most)}: {_name(cell)}: {took:,.0f} us of a step" + (
                f" are not compute; wanted below {most:g}"
            )


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _name(cell: Cell) -> str:
    return f"{cell.kind}, {cell.workers} at {cell.batch}"


def _brief(spread: Spread | None) -> str:
    return "-" if spread is None else brief(spread)
