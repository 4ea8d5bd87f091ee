"""On the way back from a lie: what is answered, what is not counted, and who waits for what."""

from dataclasses import replace

import pytest

from coordinator import events
from coordinator.effects import Evaluate, Finish, GoBack, Recompute, Save
from coordinator.evaluations import Evaluations
from coordinator.phases import LAST_SAVE_S
from coordinator.settings import CheckpointEvery, Settings
from tests.coordinator.lies import HAND, RUN_, go_back_to_start, recompute, spoil, spoilt
from tests.coordinator.scenario import (
    RUN,
    Scenario,
    is_finished,
    only,
    sent,
    tasks,
)
from wire.messages import Ping, Pong

pytestmark = pytest.mark.unit


def test_a_run_that_cannot_go_back_does_not_wait_for_the_save_that_it_has_revoked() -> None:
    """Its answer is dropped, whether going back succeeds or not."""
    scenario, dispute = spoilt(Settings(CheckpointEvery(steps=1)))
    assert [save.step for save in only(Save, scenario.seen)] == [1], "it is under way"

    recompute(scenario, dispute)
    effects = scenario.handle(events.GoBackFailed("a disk that refuses"))

    assert [finish.failure for finish in only(Finish, effects)] == ["a disk that refuses"]


def test_while_the_run_goes_back_members_are_answered_and_nothing_is_counted() -> None:
    """A slow disk is no reason to lose those who have done nothing wrong."""
    scenario, dispute = spoilt()
    (task, *_) = tasks(scenario.seen, b"a")
    recompute(scenario, dispute)

    assert tasks(scenario.ready(b"b"), b"b") == []
    sid = scenario.welcomes[b"b"].sid
    pong = sent(scenario.receive(b"b", Ping(RUN, 4, sid, 1.5)), b"b")
    late = scenario.receive(b"b", replace(HAND.compute(task), sid=sid))

    assert pong == [Pong(RUN, 4, sid, 1.5)]
    assert late == []
    assert scenario.training.step == 1
    assert scenario.state.status(0.0).durable_step == -1, "what is going to be revoked is not"
    assert tasks(go_back_to_start(scenario), b"b"), "work goes on"


def test_who_asks_for_a_stop_does_not_wait_for_a_way_back_that_does_not_end() -> None:
    scenario, dispute = spoilt()
    recompute(scenario, dispute)
    assert only(Finish, scenario.handle(events.StopAsked(), 1.0)) == []

    (finish,) = only(Finish, scenario.handle(events.StopAsked(), 1.0 + LAST_SAVE_S))

    assert finish.failure is not None
    assert "expected to have gone back within 8 s, got no answer" in finish.failure


def test_a_stop_on_the_way_back_leaves_when_the_run_stands_again() -> None:
    scenario, dispute = spoilt()
    recompute(scenario, dispute)
    scenario.handle(events.StopAsked(), 1.0)

    assert only(Finish, go_back_to_start(scenario)) == [Finish(None)]


def spoilt_while_evaluating() -> tuple[Scenario, Recompute]:
    """As `spoilt`, and a save of the spoilt step waits for its held-out loss."""
    evaluations = Evaluations(has_held_out=True, is_first_known=True)
    settings = Settings(CheckpointEvery(steps=1))
    scenario = Scenario(RUN_, settings=settings, hand=HAND, evaluations=evaluations)
    dispute = spoil(scenario)
    assert [effect.step for effect in only(Evaluate, scenario.seen)] == [1]
    return scenario, dispute


def test_a_save_that_waited_when_the_dispute_began_is_not_made() -> None:
    scenario, dispute = spoilt_while_evaluating()

    assert only(Save, scenario.handle(events.Evaluated(1, 2.0))) == []
    assert only(GoBack, recompute(scenario, dispute)) == [GoBack(0)]


def test_a_stop_does_not_make_it_either() -> None:
    scenario, _dispute = spoilt_while_evaluating()

    effects = scenario.handle(events.StopAsked(), 1.0)
    effects += scenario.handle(events.StopAsked(), 2.1)

    assert only(Save, effects) == []
    assert is_finished(scenario)


def test_nor_does_a_run_that_cannot_go_back() -> None:
    """The disk refused: what is in memory is known to be wrong."""
    scenario, dispute = spoilt_while_evaluating()
    recompute(scenario, dispute)

    effects = scenario.handle(events.GoBackFailed("disk"))
    effects += scenario.handle(events.Evaluated(1, 2.0))

    assert only(Save, effects) == []
    assert only(Finish, effects) == [Finish("disk")]
