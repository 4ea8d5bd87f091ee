"""When a step is saved, by steps or by seconds."""

from collections.abc import Iterable

import pytest

from coordinator.saves import SAVE_S, Saves
from coordinator.settings import CheckpointEvery

pytestmark = pytest.mark.unit


def saved(saves: Saves, steps: Iterable[int]) -> list[int]:
    """Give the steps that are saved if every save has ended before the next step."""
    due = []
    for step in steps:
        if saves.is_due(step, 0.0):
            saves.begin(step, 0.0)
            saves.succeed(step, 0.0)
            due.append(step)
    return due


def test_every_third_step_is_due() -> None:
    saves = Saves(CheckpointEvery(steps=3), 0, 100)

    assert saved(saves, range(1, 10)) == [3, 6, 9]


def test_a_resumed_run_saves_the_steps_that_an_uninterrupted_one_saves() -> None:
    saves = Saves(CheckpointEvery(steps=5), 7, 100)

    assert saved(saves, range(8, 21)) == [10, 15, 20]


def test_a_step_that_fell_due_during_a_save_is_made_up_for_by_the_next_one() -> None:
    saves = Saves(CheckpointEvery(steps=3), 0, 100)
    saves.begin(3, 0.0)
    assert [step for step in range(4, 9) if saves.is_due(step, 0.0)] == []
    saves.succeed(3, 0.0)

    assert saved(saves, range(8, 14)) == [8, 9, 12]


def test_after_going_back_the_steps_are_due_again() -> None:
    saves = Saves(CheckpointEvery(steps=3), 0, 100)
    assert saved(saves, range(1, 8)) == [3, 6]
    saves.begin(7, 0.0)

    saves.go_back(3)

    assert saves.durable_step == 3
    assert saved(saves, range(4, 8)) == [6]


def test_steps_are_at_risk_only_while_saves_fail() -> None:
    saves = Saves(CheckpointEvery(steps=10), 10, 15)
    assert saves.risk(1000, 0.0) == ""
    saves.begin(20, 0.0)
    saves.fail(20, "no space", 1.0)

    assert saves.risk(24, 1.0) == ""
    assert saves.risk(25, 1.0) == "expected a save within 15 steps, got none: no space"
    assert saves.unsaved(25) == 15
    saves.begin(30, 2.0)
    assert saves.trouble(2.0) == "no space", "a save that has only begun has not helped yet"
    assert saves.risk(30, 2.0) == "", "but it may"
    assert "step 30 is being saved for 31 s" in saves.risk(30, 33.0)
    saves.succeed(30, 3.0)
    assert saves.risk(1000, 3.0) == ""


def test_a_save_without_an_answer_is_trouble_after_a_while() -> None:
    saves = Saves(CheckpointEvery(steps=10), -1, 15)
    saves.begin(0, 5.0)

    assert saves.trouble(5.0 + SAVE_S) == ""
    assert saves.trouble(6.0 + SAVE_S) == "step 0 is being saved for 31 s"
    assert saves.unsaved(4) == 4


def test_a_step_is_due_so_many_seconds_after_the_last_save_has_ended() -> None:
    saves = Saves(CheckpointEvery(None, 5.0), 0, 100)
    saves.start(100.0)

    assert not saves.is_due(1, 104.9)
    assert saves.is_due(1, 105.0)
    saves.begin(1, 0.0)
    saves.succeed(1, 107.0)
    assert not saves.is_due(2, 111.9)
    assert saves.is_due(2, 112.0)


def test_a_save_that_fails_is_tried_again_after_so_many_seconds() -> None:
    saves = Saves(CheckpointEvery(None, 5.0), 0, 100)
    saves.begin(1, 0.0)
    saves.fail(1, "no space", 100.0)

    assert not saves.is_due(2, 104.9)
    assert saves.is_due(2, 105.0)


def test_zero_seconds_saves_every_step() -> None:
    saves = Saves(CheckpointEvery(None, 0.0), 0, 100)
    saves.start(1.0)

    assert saves.is_due(1, 1.0)


def test_nothing_is_due_while_a_save_is_under_way() -> None:
    saves = Saves(CheckpointEvery(steps=1), 0, 100)
    saves.begin(1, 0.0)

    assert not saves.is_due(2, 0.0)


def test_a_save_that_succeeds_is_durable_and_one_that_fails_is_not() -> None:
    saves = Saves(CheckpointEvery(steps=1), -1, 100)
    saves.begin(1, 0.0)
    saves.succeed(1, 0.0)
    saves.begin(2, 0.0)
    saves.fail(2, "no space", 0.0)

    assert saves.durable_step == 1
    assert saves.pending_step is None


def test_two_saves_at_once_are_our_mistake() -> None:
    saves = Saves(CheckpointEvery(steps=1), -1, 100)
    saves.begin(1, 0.0)

    with pytest.raises(AssertionError):
        saves.begin(2, 0.0)
