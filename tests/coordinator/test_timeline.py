"""Where the time of a step went: by the coordinator's clock, and by what workers say."""

import json
import math

import pytest

from coordinator.picture import Picture
from coordinator.timeline import LEGS_KEPT, PHASES, STEPS_KEPT, StepTrace, Timeline

pytestmark = pytest.mark.unit


class Clock:
    """Says what it was told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def after(clock: Clock, seconds: float) -> float:
    clock.now += seconds
    return clock.now


def trace_of(timeline: Timeline, step: int = 1) -> StepTrace:
    return timeline.trace(step, loss=2.5, documents=64, workers=2)


def two_workers(clock: Clock) -> Timeline:
    """A step of 18 ms: the second worker's answer is the last."""
    timeline = Timeline(clock)
    timeline.lease(1, "w1", (0, 4), 1000)  # at 0 ms
    after(clock, 0.001)
    timeline.lease(2, "w2", (4, 8), 1100)  # at 1 ms
    timeline.answer(1, after(clock, 0.007), 0.0, 0.004, 500)  # at 8 ms
    timeline.answer(2, after(clock, 0.005), 0.002, 0.006, 600)  # at 13 ms
    after(clock, 0.001)
    timeline.save(0.0005)
    after(clock, 0.004)
    timeline.commit(reduce_s=0.001, adam_s=0.002)
    return timeline


def test_the_phases_are_the_links_of_the_chain_that_ends_with_the_last_answer() -> None:
    trace = trace_of(two_workers(Clock()))

    assert trace.seconds == pytest.approx(0.018)
    # Of the second worker's 12 ms, 2 are waited and 6 computed: the two ways took 2 ms each.
    assert trace.phases.broadcast == pytest.approx(0.001 + 0.002)
    assert trace.phases.compute == pytest.approx(0.006)
    assert trace.phases.collect == pytest.approx(0.013 - 0.003 - 0.006)
    assert (trace.phases.reduce, trace.phases.adam) == (0.001, 0.002)
    assert trace.phases.checkpoint == 0.0005
    assert list(trace.phases.by_name) == list(PHASES)
    assert math.fsum(trace.phases.by_name.values()) == pytest.approx(trace.seconds)
    assert trace.last_worker == "w2"


def test_a_step_knows_its_bytes_and_its_legs() -> None:
    trace = trace_of(two_workers(Clock()))

    assert (trace.bytes_sent, trace.bytes_received) == (2100, 1100)
    assert [(leg.worker, leg.lo, leg.hi) for leg in trace.legs] == [("w1", 0, 4), ("w2", 4, 8)]
    assert [leg.way_s for leg in trace.legs] == [pytest.approx(0.002), pytest.approx(0.002)]


def test_the_next_step_begins_where_the_last_has_ended() -> None:
    clock = Clock()
    timeline = two_workers(clock)
    first = trace_of(timeline)
    timeline.lease(3, "w1", (0, 8), 10)
    timeline.answer(3, after(clock, 0.004), 0.0, 0.002, 10)
    timeline.commit(0.0, 0.0)

    second = trace_of(timeline, 2)

    assert second.opened_s == pytest.approx(first.opened_s + first.seconds)
    assert second.seconds == pytest.approx(0.004)
    assert [trace.step for trace in timeline.steps] == [1, 2]


def test_an_answer_to_a_lease_of_another_step_is_no_leg() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    timeline.lease(1, "w1", (0, 8), 10)
    timeline.commit(0.0, 0.0)
    timeline.answer(1, after(clock, 1.0), 0.0, 0.5, 10)
    timeline.commit(0.0, 0.0)

    trace = trace_of(timeline)

    assert trace.legs == ()
    assert trace.last_worker == ""
    assert trace.phases.other == pytest.approx(1.0)


@pytest.mark.parametrize("said", [(-1.0, -1.0), (1e300, 1e300), (0.0, 1e308), (5.0, 0.0)])
def test_a_worker_cannot_say_more_of_itself_than_there_was_time_for(
    said: tuple[float, float],
) -> None:
    """Its numbers are shown and written: they must be finite, and fit the coordinator's clock."""
    clock = Clock()
    timeline = Timeline(clock)
    timeline.lease(1, "w1", (0, 8), 10)
    timeline.answer(1, after(clock, 0.01), *said, 10)
    timeline.commit(0.0, 0.0)

    trace = trace_of(timeline)

    (leg,) = trace.legs
    assert min(leg.queued_s, leg.compute_s) >= 0.0
    assert leg.queued_s + leg.compute_s <= 0.0101
    assert all(0.0 <= seconds <= 0.0101 for seconds in trace.phases.by_name.values())


def test_a_save_that_was_prepared_while_workers_computed_made_the_step_no_longer() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    timeline.lease(1, "w1", (0, 8), 10)
    timeline.save(0.008)
    timeline.answer(1, after(clock, 0.01), 0.0, 0.01, 10)
    after(clock, 0.002)
    timeline.commit(0.0005, 0.0005)

    phases = trace_of(timeline).phases

    assert phases.checkpoint == pytest.approx(0.001)  # what is left of the step
    assert math.fsum(phases.by_name.values()) == pytest.approx(0.012)


def test_a_lease_that_ends_without_an_answer_is_forgotten() -> None:
    """Whoever says READY again and again must not make the open step grow."""
    timeline = Timeline(Clock())
    for lease in range(1000):
        timeline.lease(lease, "w1", (0, 8), 10)
        timeline.drop(lease)

    assert timeline._open.legs == {}


def test_two_leases_of_a_worker_compute_no_longer_than_there_was_time() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    timeline.lease(1, "w1", (0, 4), 10)
    timeline.lease(2, "w1", (4, 8), 10)
    after(clock, 0.01)
    for lease in (1, 2):
        timeline.answer(lease, clock.now, 0.0, 9.0, 10)
    timeline.commit(0.0, 0.0)

    trace = trace_of(timeline)

    assert math.fsum(trace.phases.by_name.values()) == pytest.approx(trace.seconds)


@pytest.mark.parametrize(("workers", "kept"), [(2, STEPS_KEPT), (256, LEGS_KEPT // 256)])
def test_many_workers_take_no_more_memory_than_few(workers: int, kept: int) -> None:
    clock = Clock()
    timeline = Timeline(clock)
    for step in range(100):
        for worker in range(workers):
            timeline.lease(worker, f"w{worker}", (worker, worker + 1), 1)
            timeline.answer(worker, after(clock, 1e-6), 0.0, 0.0, 1)
        timeline.commit(0.0, 0.0)
        trace_of(timeline, step)

    assert len(timeline.steps) == kept
    assert timeline.newest.step == 99


def test_what_is_undone_is_forgotten() -> None:
    timeline = two_workers(Clock())
    trace_of(timeline)

    timeline.forget()

    assert timeline.steps == ()


def test_a_picture_is_json_that_others_read() -> None:
    timeline = two_workers(Clock())
    trace_of(timeline)
    branches = [((0, 4), "summed", ["w1"]), ((4, 8), "waiting", [])]

    read = json.loads(Picture("5f" * 16, 1, 8, 4192, 2, branches, timeline.steps).to_json())

    assert read["tree"] == {
        "step": 2,
        "branches": [
            {"lo": 0, "hi": 4, "state": "summed", "workers": ["w1"]},
            {"lo": 4, "hi": 8, "state": "waiting", "workers": []},
        ],
    }
    (step,) = read["steps"]
    assert (step["step"], step["bytes_sent"], step["last_worker"]) == (1, 2100, "w2")
    assert step["legs"][1]["queued_s"] == 0.002
    assert step["phases"]["adam"] == 0.002
