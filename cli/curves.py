"""The curves of a run: what is drawn of its lines, as plain numbers.

A plot has some thousand pixels, a run may have tens of thousands of steps. Thinning keeps the
lowest and the highest of each stretch, so that no peak is lost.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cli.errors import MetricsUnreadable
from coordinator.metrics_line import Line

POINTS_MAX = 2000  # of one curve: about a point for each pixel
SMOOTH_STRETCHES = 50  # a mean is taken over so many a part of the longest run, if nobody says
SECONDS_MIN = 1e-9  # of a step, where a clock has not moved
SHARES_MAX = 150  # columns of a stack: narrower ones are not seen

X_AXES = {"step": "updates applied", "documents": "documents", "seconds": "training time (s)"}
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's curve.

    Attributes:
        name: of the run.
        points: (x, y), smoothed if that was asked for.
        raw: the same before smoothing; empty if they are no others.
        marks: held-out losses; empty if there are none or another thing is drawn.
    """

    name: str
    points: Points
    raw: Points
    marks: Points


@dataclass(frozen=True, slots=True)
class Shares:
    """What one run spends its time on.

    Attributes:
        xs: where each column ends.
        shares: by phase, in the order of the file; a fraction of all phases' time for each x.
    """

    name: str
    xs: list[float]
    shares: dict[str, list[float]]


def positions(lines: Sequence[Line], axis: str) -> list[float]:
    """Give the x of each line: updates, documents or seconds since the first."""
    if axis == "step":
        return [float(line.step) for line in lines]
    if axis == "documents":
        return [float(x) for x in accumulate(line.documents for line in lines)]
    return list(accumulate(line.seconds for line in lines))


def usual_smooth(runs: Iterable[Sequence[Line]]) -> int:
    """Give over how many steps a mean is taken if nobody says."""
    return max(1, max(map(len, runs)) // SMOOTH_STRETCHES)


def loss_curve(name: str, lines: Sequence[Line], axis: str, smooth: int) -> Curve:
    """Give a run's loss, and its held-out loss where it is known."""
    xs = positions(lines, axis)
    losses = [line.loss for line in lines]
    marks = [
        (x, line.held_out_loss)
        for x, line in zip(xs, lines, strict=True)
        if line.held_out_loss is not None
    ]
    return _curve(name, xs, losses, [1.0] * len(losses), smooth, marks)


def rate_curve(name: str, lines: Sequence[Line], axis: str, smooth: int) -> Curve:
    """Give the documents/s of a run; a mean of several steps is that of their time.

    Without the first step, in whose time workers start.
    """
    start = 1 if lines[1:] else 0
    xs = positions(lines, axis)[start:]
    documents = [float(line.documents) for line in lines[start:]]
    seconds = [max(line.seconds, SECONDS_MIN) for line in lines[start:]]
    return _curve(name, xs, documents, seconds, smooth, [])


CURVES: dict[str, Callable[[str, Sequence[Line], str, int], Curve]] = {
    "loss": loss_curve,
    "rate": rate_curve,
}


def phase_shares(name: str, lines: Sequence[Line], axis: str) -> Shares:
    """Give the share of each phase in the time of a run, over stretches of equally many steps.

    Raises:
        MetricsUnreadable: the run's lines have no phases.
    """
    known = [
        (x, line.phases)
        for x, line in zip(positions(lines, axis), lines, strict=True)
        if line.phases
    ]
    if not known:
        raise MetricsUnreadable(
            f"expected phases in the lines of a run, got none — {name};"
            " an earlier version wrote it: plot --y loss or rate"
        )
    phases = list(dict.fromkeys(phase for _, phases in known for phase in phases))
    xs: list[float] = []
    shares: dict[str, list[float]] = {phase: [] for phase in phases}
    for start, end in stretches(len(known), SHARES_MAX):
        spent = {phase: sum(p.get(phase, 0.0) for _, p in known[start:end]) for phase in phases}
        total = sum(spent.values()) or 1.0
        xs.append(known[end - 1][0])
        for phase in phases:
            shares[phase].append(spent[phase] / total)
    return Shares(name, xs, shares)


def running_mean(over: Sequence[float], under: Sequence[float], steps: int) -> list[float]:
    """Give the ratio of two sums over the `steps` places around each, fewer at both ends.

    Around, and not before: a mean of the last ones would lag behind what it is drawn over.
    """
    tops, bottoms = ([0.0, *accumulate(values)] for values in (over, under))
    means = []
    for place in range(len(over)):
        first = max(0, place - (steps - 1) // 2)
        end = min(len(over), place + steps // 2 + 1)
        means.append((tops[end] - tops[first]) / (bottoms[end] - bottoms[first]))
    return means


def thin(points: Points, points_max: int = POINTS_MAX) -> Points:
    """Keep the first and last point, and the lowest and highest of each of many stretches."""
    if len(points) <= points_max:
        return points
    kept = {0, len(points) - 1}
    for start, end in stretches(len(points), points_max // 2 - 1):
        places = range(start, end)
        kept.add(min(places, key=lambda place: points[place][1]))
        kept.add(max(places, key=lambda place: points[place][1]))
    return [points[place] for place in sorted(kept)]


def stretches(count: int, stretches_max: int) -> list[tuple[int, int]]:
    """Cut `count` places into nearly equal stretches, given as (start, end)."""
    number = min(count, stretches_max)
    return [(i * count // number, (i + 1) * count // number) for i in range(number)]


def _curve(
    name: str,
    xs: list[float],
    over: list[float],
    under: list[float],
    smooth: int,
    marks: Points,
) -> Curve:
    raw = list(zip(xs, (y / x for y, x in zip(over, under, strict=True)), strict=True))
    if smooth == 1:
        return Curve(name, thin(raw), [], thin(marks))
    smoothed = list(zip(xs, running_mean(over, under, smooth), strict=True))
    return Curve(name, thin(smoothed), thin(raw), thin(marks))
