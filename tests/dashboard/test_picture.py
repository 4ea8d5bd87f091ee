"""What pages see, from what was heard, read and drawn."""

import json
import math
from typing import Any

import pytest

from coordinator.metrics_line import Line
from dashboard import timeline
from dashboard.drawings import CHECKPOINTS_MAX, Drawing
from dashboard.metrics_file import Reading
from dashboard.picture import SILENT_S, Picture
from dashboard.timeline import Timeline
from dashboard.view import everything
from tests.dashboard import fake_coordinator as fake

pytestmark = pytest.mark.unit


def timeline_of(*legs: dict[str, Any]) -> Timeline:
    branches = [{"lo": 0, "hi": 8, "state": "leased", "workers": ["a"]}]
    return timeline.from_json(json.dumps(fake.timeline([fake.step(7, legs)], branches)).encode())


def heard(number: int = 7, now_s: float = 0.0, **fields: Any) -> Picture:
    picture = Picture("demo")
    status = fake.status(number, [fake.member("a"), fake.member("b", 1)], **fields)
    picture.heard(status, timeline_of(fake.leg("a", 0, 8, 0.0)), now_s)
    return picture


def lines(first: int, last: int, **fields: Any) -> list[Line]:
    return [Line(step, 2.0, 64, 0.1, **fields) for step in range(first, last + 1)]


def drawing(step: int, *, is_newest: bool = True, run: str = fake.RUN) -> Drawing:
    return Drawing(run, step, 900, ("abba", "ba"), is_newest)


# ---- whether somebody is there ------------------------------------------------------------------


def test_nobody_was_looked_for_yet() -> None:
    assert Picture("demo").view(0.0).state == "connecting"


def test_who_answers_is_here_and_who_is_silent_for_long_is_not() -> None:
    picture = heard()
    picture.missed()

    assert picture.view(SILENT_S - 0.1).state == "here"
    assert picture.view(SILENT_S).state == "away"


def test_the_last_picture_stays_when_the_coordinator_is_gone() -> None:
    picture = heard()
    before = picture.view(0.0)
    picture.missed()
    after = picture.view(100.0)

    assert everything(after) == {**everything(before), "state": "away"}
    assert after.steps


def test_a_run_that_has_all_its_steps_is_finished() -> None:
    picture = heard(900, phase="left")
    picture.read(Reading(lines(1, 900)))
    picture.missed()

    assert picture.view(100.0).state == "finished"


def test_steps_that_the_files_know_and_nobody_has_told_count_once_nobody_tells() -> None:
    picture = heard(7)
    picture.read(Reading(lines(1, 9)))

    assert picture.view(0.0).run["step"] == 7
    assert picture.view(100.0).run["step"] == 9


def test_a_run_that_ended_before_anybody_looked_is_known_by_its_checkpoint() -> None:
    picture = Picture("demo")
    picture.drew(drawing(900))
    picture.missed()

    view = picture.view(0.0)
    assert view.state == "finished"
    assert view.run == {"name": "demo", "id": fake.RUN, "steps": 900, "step": 900}


# ---- what a coordinator says --------------------------------------------------------------------


def test_members_have_their_shares_of_the_last_steps() -> None:
    [a, b] = heard().view(0.0).members

    assert a["worker"] == "a"
    assert a["shares"]["computing"] == pytest.approx(0.4)
    assert b["shares"] == {"computing": 0.0, "sending": 0.0, "waiting": 1.0}


def test_every_worker_has_a_row_also_one_that_is_gone() -> None:
    picture = Picture("demo")
    legs = (fake.leg("gone", 0, 4, 0.0), fake.leg("a", 4, 8, 0.0))
    picture.heard(fake.status(7, [fake.member("a")]), timeline_of(*legs), 0.0)

    [step] = picture.view(0.0).steps
    assert [row["worker"] for row in step["workers"]] == ["a", "gone"]
    assert ["computing", 0.0001, 0.0005, 4, 8] in step["workers"][0]["segments"]


def test_phases_have_medians_and_the_bytes_that_move_in_them() -> None:
    phases = {one["phase"]: one for one in heard().view(0.0).phases}

    assert phases["adam"] == {"phase": "adam", "seconds": 7e-5, "bytes": None}
    assert phases["broadcast"]["bytes"] == 68_211
    assert phases["collect"]["bytes"] == 67_400


def test_a_coordinator_without_timeline_is_shown_as_far_as_it_tells() -> None:
    picture = Picture("demo")
    picture.heard(fake.status(7, [fake.member("a")]), None, 0.0)

    view = picture.view(0.0)
    assert (view.state, view.steps, view.tree, view.phases) == ("here", [], {}, [])
    assert view.members[0]["shares"] == {}


def test_every_number_of_a_view_is_json() -> None:
    picture = heard(loss=math.nan, documents_per_s=math.inf)
    picture.read(Reading([Line(1, math.nan, 64, 0.1, held_out_loss=math.inf)]))
    picture.drew(drawing(1))

    json.dumps(everything(picture.view(0.0)), allow_nan=False)


# ---- lines and names ----------------------------------------------------------------------------


def test_lines_are_counted_once_also_if_the_last_is_completed() -> None:
    picture = Picture("demo")
    picture.read(Reading(lines(1, 3, bytes_sent=10, bytes_received=20)))
    picture.read(
        Reading([Line(3, 2.0, 64, 0.1, held_out_loss=1.5, bytes_sent=10, bytes_received=20)])
    )
    picture.read(
        Reading([Line(3, 2.0, 64, 0.1, held_out_loss=1.5, bytes_sent=10, bytes_received=20)])
    )

    view = picture.view(0.0)
    assert view.totals == {"documents": 192, "bytes_sent": 30, "bytes_received": 60}
    assert view.held_out == [[3, 1.5]]
    assert len(view.losses) == 3


def test_older_runs_have_no_bytes_rather_than_none_sent() -> None:
    picture = Picture("demo")
    picture.read(Reading(lines(1, 3)))

    assert picture.view(0.0).totals == {"documents": 192}


def test_lines_that_are_read_anew_replace_those_before() -> None:
    picture = Picture("demo")
    picture.read(Reading(lines(1, 9, held_out_loss=1.0)))
    picture.read(Reading(lines(1, 2), is_anew=True))

    view = picture.view(0.0)
    assert view.losses == [[1, 2.0], [2, 2.0]]
    assert view.held_out == []
    assert view.totals == {"documents": 128}


def test_names_have_the_held_out_loss_of_their_step() -> None:
    picture = Picture("demo")
    picture.read(Reading([Line(5, 2.0, 64, 0.1, held_out_loss=1.5)]))
    picture.drew(drawing(5))

    assert picture.view(0.0).names == [
        {"step": 5, "names": ["abba", "ba"], "held_out_loss": 1.5, "trouble": ""}
    ]


def test_older_checkpoints_find_their_place() -> None:
    picture = Picture("demo")
    for step, is_newest in ((9, True), (7, False), (8, False), (10, True)):
        picture.drew(drawing(step, is_newest=is_newest))

    assert [one["step"] for one in picture.view(0.0).names] == [7, 8, 9, 10]


def test_a_run_that_has_gone_back_forgets_what_came_later() -> None:
    picture = Picture("demo")
    for step in (5, 6, 7, 6):
        picture.drew(drawing(step))

    assert [one["step"] for one in picture.view(0.0).names] == [5, 6]


def test_another_run_in_the_same_directory_begins_anew() -> None:
    picture = Picture("demo")
    picture.drew(drawing(5))
    picture.drew(drawing(7, run="other"))

    assert [one["step"] for one in picture.view(0.0).names] == [7]
    assert picture.run == "other"


def test_only_the_last_checkpoints_are_kept() -> None:
    picture = Picture("demo")
    for step in range(100):
        picture.drew(drawing(step))

    names = picture.view(0.0).names
    assert len(names) == CHECKPOINTS_MAX
    assert names[-1]["step"] == 99
