"""Steps as a Chrome trace: what viewers draw must lie as they need it."""

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.chrome_trace import CHAIN, COORDINATOR, FIRST_WORKER, ChromeTrace
from coordinator.timeline import Leg, PhaseTimes, StepTrace

pytestmark = pytest.mark.unit

PHASES = PhaseTimes(0.002, 0.005, 0.002, 0.001, 0.003, 0.0, 0.001)


def step_of(*legs: Leg, step: int = 7) -> StepTrace:
    return StepTrace(step, 2.0, 0.014, 2.5, 64, 2, PHASES, 100, 90, legs, "w1")


def drawn(*steps: StepTrace) -> list[dict[str, Any]]:
    trace = ChromeTrace()
    events = [*trace.begin(), *(event for step in steps for event in trace.events(step))]
    return [json.loads(event) for event in events]


def on_track(events: list[dict[str, Any]], track: int) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == "X" and event["tid"] == track]


def test_a_worker_gets_its_task_waits_computes_and_answers() -> None:
    leg = Leg("w1", 0, 4, sent_s=0.001, queued_s=0.001, compute_s=0.004, received_s=0.010)

    slices = on_track(drawn(step_of(leg)), FIRST_WORKER)

    assert [(one["name"], one["ts"], one["dur"]) for one in slices] == [
        ("task on its way", 2_001_000.0, 2000.0),
        ("waits for its turn", 2_003_000.0, 1000.0),
        ("computes (0, 4)", 2_004_000.0, 4000.0),
        ("gradient on its way", 2_008_000.0, 2000.0),
    ]
    assert slices[2]["args"] == {"step": 7, "branch": "(0, 4)"}


def test_computing_hides_a_gradient_that_is_still_on_its_way() -> None:
    first = Leg("w1", 0, 4, sent_s=0.0, queued_s=0.0, compute_s=0.004, received_s=0.010)
    second = Leg("w1", 4, 8, sent_s=0.0, queued_s=0.006, compute_s=0.003, received_s=0.011)

    slices = on_track(drawn(step_of(first, second)), FIRST_WORKER)

    assert [(one["name"], one["dur"]) for one in slices] == [
        ("task on its way", 3000.0),
        ("computes (0, 4)", 4000.0),
        ("computes (4, 8)", 3000.0),
        ("gradient on its way", 1000.0),
    ]


def test_a_step_is_a_slice_with_what_the_coordinator_did_at_its_end() -> None:
    step, adam, reduce = on_track(drawn(step_of()), COORDINATOR)

    assert (step["name"], step["ts"], step["dur"]) == ("step 7", 2_000_000.0, 14_000.0)
    assert (reduce["name"], reduce["ts"], reduce["dur"]) == ("reduce", 2_010_000.0, 1000.0)
    assert (adam["name"], adam["ts"], adam["dur"]) == ("adam", 2_011_000.0, 3000.0)


def test_the_chain_of_a_step_is_as_long_as_the_step_and_nothing_takes_no_time() -> None:
    chain = on_track(drawn(step_of()), CHAIN)

    assert [one["name"] for one in chain] == [
        *("broadcast", "compute", "collect", "reduce", "adam", "other")
    ]
    assert chain[-1]["ts"] + chain[-1]["dur"] == pytest.approx(2_014_000.0)


def test_a_worker_keeps_its_track_which_has_its_name() -> None:
    legs = [Leg(name, 0, 4, 0.0, 0.0, 0.004, 0.010) for name in ("w1", "w2", "w1")]

    events = drawn(step_of(legs[0]), step_of(legs[1], step=8), step_of(legs[2], step=9))

    names = {event["args"]["name"]: event["tid"] for event in events if event["ph"] == "M"}
    assert names["w1"] == FIRST_WORKER
    assert names["w2"] == FIRST_WORKER + 1
    assert {one["args"]["step"] for one in on_track(events, FIRST_WORKER)} == {7, 9}


times = st.floats(0, 0.01)


@given(st.lists(st.tuples(times, times, times, times), min_size=1, max_size=4))
def test_slices_of_a_worker_never_overlap(drawn_times: list[tuple[float, ...]]) -> None:
    """Two leases are out at once; a viewer draws what overlaps without nesting wrongly."""
    free_s = 0.0  # a worker computes one branch after the other
    legs = []
    for sent_s, out_s, queued_s, compute_s in drawn_times:
        begin_s = max(free_s, sent_s + out_s + queued_s)
        free_s = begin_s + compute_s
        way_s = (begin_s - sent_s - queued_s) if queued_s <= begin_s - sent_s else 0.0
        legs.append(Leg("w1", 0, 4, sent_s, queued_s, compute_s, free_s + way_s))

    by_track: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one in on_track(drawn(step_of(*legs)), FIRST_WORKER):
        by_track[one["tid"]].append((one["ts"], one["ts"] + one["dur"]))

    for slices in by_track.values():
        ordered = sorted(slices)
        for (_, end), (begin, _) in pairwise(ordered):
            assert begin >= end - 0.1  # a tenth of a microsecond: times are rounded
