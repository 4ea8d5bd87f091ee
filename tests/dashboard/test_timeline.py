"""What a worker did in a step, from what the coordinator knows of its leases."""

import json
from itertools import pairwise
from typing import Any

import pytest

from dashboard import timeline
from dashboard.errors import TimelineUnreadable
from dashboard.timeline import Segment, Step, coordinator_segments, segments, shares
from tests.dashboard import fake_coordinator as fake

pytestmark = pytest.mark.unit


def step_of(*legs: dict[str, Any], **fields: Any) -> Step:
    made = {**fake.step(7, legs), **fields}
    return timeline.from_json(json.dumps(fake.timeline([made])).encode()).steps[0]


def told(found: list[Segment]) -> list[tuple[str, int, int]]:
    """Give kinds and microseconds."""
    return [(one.kind, round(one.begin_s * 1e6), round(one.end_s * 1e6)) for one in found]


def test_travel_is_half_on_each_way() -> None:
    leg = fake.leg("a", 0, 4, 1e-4, queued_s=5e-5, compute_s=4e-4, received_s=7e-4)

    assert told(segments(step_of(leg), "a")) == [
        ("waiting", 0, 100),
        ("sending", 100, 175),
        ("waiting", 175, 225),
        ("computing", 225, 625),
        ("sending", 625, 700),
        ("waiting", 700, 1000),
    ]


def test_what_is_computed_is_known_by_its_shards() -> None:
    found = segments(step_of(fake.leg("a", 4, 6, 0.0)), "a")

    assert [(one.lo, one.hi) for one in found if one.kind == "computing"] == [(4, 6)]


def test_a_worker_without_a_lease_waits_for_the_whole_step() -> None:
    step = step_of(fake.leg("a", 0, 4, 0.0))

    assert told(segments(step, "b")) == [("waiting", 0, 1000)]


def test_of_two_leases_at_once_computing_is_shown() -> None:
    """The second task is on its way, and waits, while the first is computed."""
    first = fake.leg("a", 0, 2, 0.0, compute_s=4e-4, received_s=4e-4)
    second = fake.leg("a", 2, 4, 1e-4, queued_s=2e-4, compute_s=3e-4, received_s=7e-4)

    assert told(segments(step_of(first, second), "a")) == [
        ("computing", 0, 400),
        ("computing", 400, 650),
        ("sending", 650, 700),
        ("waiting", 700, 1000),
    ]


def test_segments_cover_a_step_without_gaps() -> None:
    legs = [fake.leg("a", i, i + 1, i * 1e-4) for i in range(6)]
    found = segments(step_of(*legs), "a")

    assert found[0].begin_s == 0
    assert found[-1].end_s == 1e-3
    assert all(one.end_s == other.begin_s for one, other in pairwise(found))


def test_an_answer_that_came_after_the_step_ends_with_it() -> None:
    leg = fake.leg("a", 0, 1, 9e-4, compute_s=5e-4, received_s=2e-3)

    assert told(segments(step_of(leg), "a"))[-1][2] == 1000


def test_the_coordinators_phases_follow_each_other() -> None:
    found = told(coordinator_segments(step_of()))

    assert found[:3] == [("broadcast", 0, 60), ("compute", 60, 660), ("collect", 660, 740)]
    assert found[-1] == ("other", 880, 1000)


def test_shares_are_of_all_the_steps_time() -> None:
    busy = step_of(fake.leg("a", 0, 4, 0.0, compute_s=8e-4, received_s=1e-3))
    idle = step_of()

    assert shares([busy, idle], "a") == pytest.approx(
        {"computing": 0.4, "sending": 0.1, "waiting": 0.5}
    )
    assert shares([], "a") == {}


@pytest.mark.parametrize("received_s", [None, -1.0])
def test_a_lease_that_was_not_answered_is_no_leg(received_s: float | None) -> None:
    assert step_of({**fake.leg("a", 0, 4, 0.0), "received_s": received_s}).legs == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps({**fake.timeline([]), "tree": None}).encode(),
        json.dumps(fake.timeline([{**fake.step(1, []), "seconds": "long"}])).encode(),
        json.dumps(fake.timeline([{**fake.step(1, []), "seconds": float("inf")}])).encode(),
    ],
)
def test_what_is_no_timeline_is_refused(data: bytes) -> None:
    with pytest.raises(TimelineUnreadable, match="expected a coordinator's timeline"):
        timeline.from_json(data)


def test_keys_that_are_not_known_yet_are_passed_over() -> None:
    known = fake.timeline([fake.step(1, [])])

    assert timeline.from_json(json.dumps({**known, "new": [1]}).encode()).shards == 8
