"""When a step is saved, by steps or by seconds."""

import pytest

from coordinator.saves import Saves
from coordinator.settings import CheckpointEvery

pytestmark = pytest.mark.unit


def test_every_third_step_is_due() -> None:
    saves = Saves(CheckpointEvery(steps=3), 0)

    assert [step for step in range(1, 10) if saves.is_due(step, 0.0)] == [3, 6, 9]


def test_a_step_is_due_so_many_seconds_after_the_last_save_has_ended() -> None:
    saves = Saves(CheckpointEvery(None, 5.0), 0)
    saves.start(100.0)

    assert not saves.is_due(1, 104.9)
    assert saves.is_due(1, 105.0)
    saves.begin(1)
    saves.succeed(1, 107.0)
    assert not saves.is_due(2, 111.9)
    assert saves.is_due(2, 112.0)


def test_a_save_that_fails_is_tried_again_after_so_many_seconds() -> None:
    saves = Saves(CheckpointEvery(None, 5.0), 0)
    saves.begin(1)
    saves.fail(1, 100.0)

    assert not saves.is_due(2, 104.9)
    assert saves.is_due(2, 105.0)


def test_zero_seconds_saves_every_step() -> None:
    saves = Saves(CheckpointEvery(None, 0.0), 0)
    saves.start(1.0)

    assert saves.is_due(1, 1.0)


def test_nothing_is_due_while_a_save_is_under_way() -> None:
    saves = Saves(CheckpointEvery(steps=1), 0)
    saves.begin(1)

    assert not saves.is_due(2, 0.0)


def test_a_save_that_succeeds_is_durable_and_one_that_fails_is_not() -> None:
    saves = Saves(CheckpointEvery(steps=1), -1)
    saves.begin(1)
    saves.succeed(1, 0.0)
    saves.begin(2)
    saves.fail(2, 0.0)

    assert saves.durable_step == 1
    assert saves.pending_step is None


def test_two_saves_at_once_are_our_mistake() -> None:
    saves = Saves(CheckpointEvery(steps=1), -1)
    saves.begin(1)

    with pytest.raises(AssertionError):
        saves.begin(2)
