"""Who did what, and when, in the last steps: what a coordinator answers to TIMELINE.

A leg is one lease, from the task that goes out to the gradient that comes back. Of its time, what
was neither queued nor computed is travel, and half of that is taken for each way: both clocks of a
leg are the coordinator's but for durations, so nothing depends on clocks that agree.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from coordinator.timeline import PHASES, Leg
from dashboard.errors import TimelineUnreadable

WAITING, COMPUTING, SENDING = "waiting", "computing", "sending"


@dataclass(frozen=True, slots=True)
class Step:
    """One committed step.

    Attributes:
        step: updates applied after it.
        opened_s: seconds since this coordinator started.
        phases: phase -> seconds of the chain that the step is as long as, in the order of PHASES.
    """

    step: int
    opened_s: float
    seconds: float
    phases: tuple[tuple[str, float], ...]
    bytes_sent: int
    bytes_received: int
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """An aligned subtree of the open step: `waiting`, `leased` or `summed`, and whose it is."""

    lo: int
    hi: int
    state: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The last steps, oldest first, and the branches of the open one."""

    run: str
    gen: int
    shards: int
    params: int
    open_step: int
    branches: tuple[Branch, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """What one worker does for a part of a step.

    Attributes:
        begin_s, end_s: seconds since the step was opened.
        lo, hi: shards that are computed; 0, 0 for all other kinds.
    """

    kind: str
    begin_s: float
    end_s: float
    lo: int = 0
    hi: int = 0


def from_json(data: bytes) -> Timeline:
    """Read a coordinator's answer; keys that are not known yet are passed over.

    Raises:
        TimelineUnreadable: it is none.
    """
    try:
        values = json.loads(data)
        return Timeline(
            str(values["run"]),
            int(values["gen"]),
            int(values["shards"]),
            int(values["params"]),
            int(values["tree"]["step"]),
            tuple(map(_branch, values["tree"]["branches"])),
            tuple(map(_step, values["steps"])),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise TimelineUnreadable(f"expected a coordinator's timeline, got {error!r}") from None


def segments(step: Step, worker: str) -> list[Segment]:
    """Say what a worker did in a step, from its begin to its end, without gaps.

    Where its legs overlap, computing hides sending, and sending hides waiting.
    """
    legs = [leg for leg in step.legs if leg.worker == worker]
    edges = {0.0, step.seconds}
    for leg in legs:
        edges |= {leg.sent_s, leg.sent_s + leg.way_s, leg.begun_s, leg.begun_s + leg.compute_s}
        edges |= {leg.received_s - leg.way_s, leg.received_s}
    times = sorted(edge for edge in edges if 0 <= edge <= step.seconds)
    found: list[Segment] = []
    for begin_s, end_s in pairwise(times):
        kind, lo, hi = _doing(legs, (begin_s + end_s) / 2)
        last = found[-1] if found else None
        if last is not None and (last.kind, last.lo, last.hi) == (kind, lo, hi):
            begin_s = found.pop().begin_s
        found.append(Segment(kind, begin_s, end_s, lo, hi))
    return found


def coordinator_segments(step: Step) -> list[Segment]:
    """Lay the coordinator's phases one after the other, as they follow each other in a step."""
    found = []
    at_s = 0.0
    for phase, seconds in step.phases:
        end_s = min(step.seconds, at_s + seconds)
        if end_s > at_s:
            found.append(Segment(phase, at_s, end_s))
        at_s = end_s
    return found


def shares(steps: Sequence[Step], worker: str) -> dict[str, float]:
    """Give the fraction of the steps' time that a worker computed, sent and waited."""
    spent = dict.fromkeys((COMPUTING, SENDING, WAITING), 0.0)
    for step in steps:
        for segment in segments(step, worker):
            spent[segment.kind] += segment.end_s - segment.begin_s
    whole = sum(spent.values())
    return {kind: seconds / whole for kind, seconds in spent.items()} if whole else {}


def workers_of(steps: Sequence[Step]) -> list[str]:
    """List who has a leg in these steps, in the order of their first."""
    return list(dict.fromkeys(leg.worker for step in steps for leg in step.legs))


def _doing(legs: Sequence[Leg], at_s: float) -> tuple[str, int, int]:
    doing = (WAITING, 0, 0)
    for leg in legs:
        if leg.begun_s <= at_s < leg.begun_s + leg.compute_s:
            return COMPUTING, leg.lo, leg.hi
        is_out = leg.sent_s <= at_s < leg.sent_s + leg.way_s
        if is_out or leg.received_s - leg.way_s <= at_s < leg.received_s:
            doing = (SENDING, 0, 0)
    return doing


def _branch(values: dict[str, Any]) -> Branch:
    workers = tuple(map(str, values["workers"]))
    return Branch(int(values["lo"]), int(values["hi"]), str(values["state"]), workers)


def _step(values: dict[str, Any]) -> Step:
    phases = values.get("phases") or {}
    return Step(
        int(values["step"]),
        _number(values["opened_s"]),
        max(0.0, _number(values["seconds"])),
        tuple((name, max(0.0, _number(phases[name]))) for name in PHASES if name in phases),
        int(values["bytes_sent"]),
        int(values["bytes_received"]),
        tuple(_legs(values["legs"])),
    )


def _legs(legs: Sequence[dict[str, Any]]) -> Iterator[Leg]:
    for values in legs:
        if (values["received_s"] or -1.0) >= 0:  # else it is under way, or was lost
            times = (values[key] for key in ("sent_s", "queued_s", "compute_s", "received_s"))
            lo, hi = int(values["lo"]), int(values["hi"])
            yield Leg(str(values["worker"]), lo, hi, *map(_number, times))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a number that is finite, got {number}")
    return number
