"""Steps as events of the Chrome trace format, which Perfetto and chrome://tracing draw.

One track is the coordinator's: a slice for each step, and in it what the coordinator did at its
end. One is the chain that the step's length is made of (see coordinator.timeline). Every worker has
one: its tasks and gradients on their way, its waits for its turn, and its computing, which hides a
gradient that is still on its way.

Source: Trace Event Format, "JSON Array Format", duration in complete events ("ph": "X").
"""

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from coordinator.timeline import PHASES, Leg, StepTrace

PROCESS = 1
COORDINATOR, CHAIN, FIRST_WORKER = 0, 1, 2  # tracks
US = 1e6
SHORTEST_US = 0.05  # what is shorter is nothing


class ChromeTrace:
    """Makes events; a worker keeps its track."""

    def __init__(self, from_s: float = 0.0) -> None:
        """Begin.

        Args:
            from_s: where the first step begins, behind what an earlier start has drawn.
        """
        self._from_s = from_s
        self._track_of: dict[str, int] = {}

    def begin(self) -> Iterator[str]:
        """Give the events that name the tracks there always are."""
        yield _name("process_name", COORDINATOR, "gradflock")
        yield _name("thread_name", COORDINATOR, "coordinator")
        yield _name("thread_name", CHAIN, "what the step waits for")

    def events(self, trace: StepTrace) -> Iterator[str]:
        """Give the events of one step, each as JSON."""
        opened_s = at_s = self._from_s + trace.opened_s
        said = f'"step": {trace.step}'
        step = f'{said}, "loss": {trace.loss!r}, "documents": {trace.documents}'
        yield from _slice(COORDINATOR, f"step {trace.step}", at_s, trace.seconds, step)
        ended_s = at_s + trace.seconds
        adam_s, reduce_s = trace.phases.adam, trace.phases.reduce
        yield from _slice(COORDINATOR, "adam", ended_s - adam_s, adam_s, said)
        yield from _slice(COORDINATOR, "reduce", ended_s - adam_s - reduce_s, reduce_s, said)
        for phase in PHASES:
            seconds = getattr(trace.phases, phase)
            yield from _slice(CHAIN, phase, at_s, seconds, said)
            at_s += seconds
        of_worker: dict[str, list[Leg]] = {}
        for leg in trace.legs:
            of_worker.setdefault(leg.worker, []).append(leg)
        for worker, legs in of_worker.items():
            if worker not in self._track_of:
                self._track_of[worker] = FIRST_WORKER + len(self._track_of)
                yield _name("thread_name", self._track_of[worker], worker)
            yield from _worker_slices(self._track_of[worker], trace.step, opened_s, legs)


def _worker_slices(track: int, step: int, opened_s: float, legs: Sequence[Leg]) -> Iterator[str]:
    free_s = 0.0  # since when the track is free
    legs = sorted(legs, key=lambda leg: leg.begun_s)
    for leg, following in zip_longest(legs, legs[1:]):
        said = f'"step": {step}, "branch": "({leg.lo}, {leg.hi})"'
        arrived_s, done_s = leg.sent_s + leg.way_s, leg.begun_s + leg.compute_s
        until_s = min(leg.received_s, following.begun_s) if following else leg.received_s
        for what, from_s, to_s in (
            ("task on its way", leg.sent_s, arrived_s),
            ("waits for its turn", arrived_s, leg.begun_s),
            (f"computes ({leg.lo}, {leg.hi})", leg.begun_s, done_s),
            ("gradient on its way", done_s, until_s),
        ):
            from_s = max(from_s, free_s)
            yield from _slice(track, what, opened_s + from_s, to_s - from_s, said)
            free_s = max(free_s, to_s)


def _slice(track: int, name: str, from_s: float, seconds: float, said: str) -> Iterator[str]:
    """Give a slice; what it says of itself is JSON, and nothing in it comes from others.

    Written by hand: ten of them for each step cost json.dumps a twentieth of the step.
    """
    if seconds * US >= SHORTEST_US:
        yield (
            f'{{"name": "{name}", "ph": "X", "ts": {from_s * US:.2f}, "dur": {seconds * US:.2f},'
            f' "pid": {PROCESS}, "tid": {track}, "args": {{{said}}}}}'
        )


def _name(what: str, track: int, name: str) -> str:
    return json.dumps(
        {"name": what, "ph": "M", "pid": PROCESS, "tid": track, "args": {"name": name}}
    )
