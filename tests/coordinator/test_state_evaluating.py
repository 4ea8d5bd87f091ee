"""When the held-out loss is evaluated: before each save, and before anybody may leave."""

import math

import pytest

from coordinator import events
from coordinator.effects import Effect, Evaluate, Finish, Hold, Save, Tell
from coordinator.evaluations import Evaluations
from coordinator.facts import CheckpointDurable, HeldOutEvaluated, MemberLost, StepCommitted
from coordinator.settings import CheckpointEvery
from coordinator.training import Training
from engine.eager import Eager
from engine.run import Run
from tests.coordinator.scenario import (
    SELDOM,
    Scenario,
    fingerprint_of,
    only,
    small_run,
    tasks,
    told,
)
from wire.messages import Ping, Task

pytestmark = pytest.mark.unit

EVERY_SECOND = CheckpointEvery(steps=2)


def evaluated_run(steps: int = 9) -> Run:
    return small_run(steps=steps, shards=1, held_out=0.5)


def resumed(run: Run, step: int, is_known: bool, every: CheckpointEvery = SELDOM) -> Scenario:
    """A generation that goes on from a durable step."""
    before = Scenario(run, SELDOM)
    train_on(before, before.join(b"a"), step)
    old = before.training
    training = Training(run, Eager(run.model), step, old.params, old.moments, old.loss)
    return Scenario(run, every, step, training, evaluations=Evaluations(True, is_known))


def at_the_start(run: Run, every: CheckpointEvery = EVERY_SECOND) -> Scenario:
    """A generation that goes on from step 0, whose held-out loss is known."""
    return resumed(run, 0, True, every)


def train_on(scenario: Scenario, queue: list[Task], steps: int, now: float = 0.0) -> list[Task]:
    for _ in range(steps):
        queue = tasks(scenario.answer(b"a", queue[0], now), b"a")
    return queue


def work(effects: list[Effect]) -> list[tuple[str, int]]:
    """What is to be saved and evaluated, in order."""
    kinds = [effect for effect in effects if isinstance(effect, Save | Evaluate)]
    return [(type(effect).__name__, effect.step) for effect in kinds]


# ---- before each save ---------------------------------------------------------------------------


def test_the_start_of_a_run_is_evaluated_and_then_saved() -> None:
    scenario = Scenario(evaluated_run(), durable_step=-1)

    assert scenario.seen == [Evaluate(0, scenario.run.params)]
    effects = scenario.handle(events.Evaluated(0, 3.25))

    assert effects[0] == Tell(HeldOutEvaluated(0, 3.25))
    assert work(effects) == [("Save", 0)]


def test_a_run_without_held_out_documents_saves_and_evaluates_nothing() -> None:
    scenario = Scenario(small_run(), durable_step=-1)

    assert work(scenario.seen) == [("Save", 0)]


def test_every_step_that_is_saved_is_evaluated_first_and_no_other() -> None:
    scenario = at_the_start(evaluated_run())
    queue = scenario.join(b"a")

    for step in range(1, 7):
        queue = train_on(scenario, queue, 1)
        if step % 2 == 0:
            scenario.handle(events.Evaluated(step, 2.5))
            scenario.handle(events.Saved(step, 0.5))

    assert work(scenario.seen) == [
        (kind, step) for step in (2, 4, 6) for kind in ("Evaluate", "Save")
    ]


def test_a_step_is_told_before_its_evaluation_begins() -> None:
    """Its line in metrics.jsonl must exist before it can be held."""
    scenario = at_the_start(evaluated_run())
    train_on(scenario, scenario.join(b"a"), 2)

    told_at = next(
        i
        for i, effect in enumerate(scenario.seen)
        if isinstance(effect, Tell)
        and isinstance(effect.fact, StepCommitted)
        and effect.fact.step == 2
    )
    (evaluate,) = only(Evaluate, scenario.seen)

    assert told_at < scenario.seen.index(evaluate)


def test_a_save_that_waited_has_what_its_step_had() -> None:
    scenario = at_the_start(evaluated_run())
    queue = train_on(scenario, scenario.join(b"a"), 2)
    training = scenario.training
    expected = Save(
        step=2,
        params=training.params[:],
        moments=training.moments,
        loss=training.loss,
        contributors={"wa": 0},
        fingerprint=fingerprint_of(scenario.run),
    )

    train_on(scenario, queue, 3)
    effects = scenario.handle(events.Evaluated(2, 2.5))

    assert training.step == 5
    assert only(Save, effects) == [expected]
    assert only(Evaluate, scenario.seen)[0].params == expected.params


def test_training_goes_on_while_an_evaluation_is_under_way() -> None:
    scenario = at_the_start(evaluated_run())

    train_on(scenario, scenario.join(b"a"), 7)

    assert scenario.training.step == 7
    assert work(scenario.seen) == [("Evaluate", 2)]


def test_the_next_save_is_due_once_the_evaluation_before_it_is_done() -> None:
    scenario = at_the_start(evaluated_run())
    queue = train_on(scenario, scenario.join(b"a"), 5)
    scenario.handle(events.Evaluated(2, 2.5))
    scenario.handle(events.Saved(2, 0.5))

    train_on(scenario, queue, 1)

    assert work(scenario.seen) == [("Evaluate", 2), ("Save", 2), ("Evaluate", 6)]


def test_a_held_out_loss_that_is_no_number_is_told_and_the_step_is_saved() -> None:
    scenario = at_the_start(evaluated_run())
    train_on(scenario, scenario.join(b"a"), 2)

    effects = scenario.handle(events.Evaluated(2, math.nan))

    (fact,) = told(effects)
    assert math.isnan(fact.held_out_loss)
    assert work(effects) == [("Save", 2)]


# ---- going on -----------------------------------------------------------------------------------


def test_a_resumed_step_whose_held_out_loss_is_known_is_not_evaluated_again() -> None:
    assert resumed(evaluated_run(), 2, is_known=True).seen == []


def test_a_resumed_step_whose_held_out_loss_was_lost_is_evaluated_and_not_saved() -> None:
    scenario = resumed(evaluated_run(), 2, is_known=False)

    assert scenario.seen == [Evaluate(2, scenario.training.params)]
    assert scenario.handle(events.Evaluated(2, 2.5)) == [Tell(HeldOutEvaluated(2, 2.5))]


def test_a_save_waits_for_the_evaluation_of_the_resumed_step_and_then_for_its_own() -> None:
    scenario = resumed(evaluated_run(), 2, is_known=False, every=EVERY_SECOND)
    train_on(scenario, scenario.join(b"a"), 2)
    assert work(scenario.seen) == [("Evaluate", 2)]

    assert work(scenario.handle(events.Evaluated(2, 2.5))) == [("Evaluate", 4)]
    assert work(scenario.handle(events.Evaluated(4, 2.25))) == [("Save", 4)]


def test_a_finished_run_whose_last_evaluation_was_lost_makes_up_for_it_and_ends() -> None:
    scenario = resumed(evaluated_run(steps=2), 2, is_known=False)
    assert work(scenario.seen) == [("Evaluate", 2)]

    effects = scenario.handle(events.Evaluated(2, 2.5))

    assert effects == [Tell(HeldOutEvaluated(2, 2.5)), Finish(None)]


def test_a_finished_run_that_lacks_nothing_ends_at_once() -> None:
    assert resumed(evaluated_run(steps=2), 2, is_known=True).seen == [Finish(None)]


# ---- leaving ------------------------------------------------------------------------------------


def test_nobody_leaves_before_the_last_step_is_evaluated_and_durable() -> None:
    scenario = at_the_start(evaluated_run(steps=3), SELDOM)
    train_on(scenario, scenario.join(b"a"), 3)
    assert work(scenario.seen) == [("Evaluate", 3)]
    assert only(Finish, scenario.handle(events.Ticked(), 1.0)) == []

    assert work(scenario.handle(events.Evaluated(3, 2.5), 1.0)) == [("Save", 3)]
    effects = scenario.handle(events.Saved(3, 0.5), 1.0)

    assert effects[0] == Tell(CheckpointDurable(3, 0.5, 0))
    assert effects[-1] == Finish(None)


def test_a_last_evaluation_that_takes_long_costs_no_member_its_place() -> None:
    """Nobody is listened to meanwhile, so nobody can be called silent; all are still pinged."""
    scenario = at_the_start(evaluated_run(steps=1), SELDOM)
    train_on(scenario, scenario.join(b"a"), 1)

    effects = [e for now in range(1, 100) for e in scenario.handle(events.Ticked(), float(now))]

    assert not [fact for fact in told(effects) if isinstance(fact, MemberLost)]
    assert len([e for e in effects if isinstance(getattr(e, "message", None), Ping)]) == 99


def test_a_stop_waits_a_second_for_evaluations_and_then_saves_without() -> None:
    scenario = at_the_start(evaluated_run(), SELDOM)
    train_on(scenario, scenario.join(b"a"), 1)

    assert work(scenario.handle(events.StopAsked(), 10.0)) == [("Evaluate", 1)]
    assert scenario.handle(events.StopAsked(), 10.9) == []
    assert work(scenario.handle(events.StopAsked(), 11.0)) == [("Save", 1)]
    assert only(Finish, scenario.handle(events.Saved(1, 0.5), 11.0)) == [Finish(None)]


def test_a_stop_takes_an_evaluation_that_is_done_in_time() -> None:
    scenario = at_the_start(evaluated_run(), SELDOM)
    train_on(scenario, scenario.join(b"a"), 1)
    scenario.handle(events.StopAsked(), 10.0)

    assert work(scenario.handle(events.Evaluated(1, 2.5), 10.5)) == [("Save", 1)]
    assert only(Finish, scenario.handle(events.Saved(1, 0.5), 10.5)) == [Finish(None)]


def test_a_stop_during_an_evaluation_saves_both_its_step_and_the_newest() -> None:
    scenario = at_the_start(evaluated_run())
    train_on(scenario, scenario.join(b"a"), 3)

    assert work(scenario.handle(events.StopAsked(), 10.0)) == []
    assert work(scenario.handle(events.StopAsked(), 11.0)) == [("Save", 2)]
    assert work(scenario.handle(events.Saved(2, 0.5), 11.0)) == [("Save", 3)]
    assert only(Finish, scenario.handle(events.Saved(3, 0.5), 11.0)) == [Finish(None)]


def test_an_answer_that_nobody_waits_for_any_more_is_still_told() -> None:
    scenario = at_the_start(evaluated_run())
    train_on(scenario, scenario.join(b"a"), 3)
    scenario.handle(events.StopAsked(), 10.0)
    scenario.handle(events.StopAsked(), 11.0)

    effects = scenario.handle(events.Evaluated(2, 2.5), 11.0)

    assert effects == [Tell(HeldOutEvaluated(2, 2.5))]


def test_a_stop_ends_the_wait_of_a_finished_run_too() -> None:
    scenario = at_the_start(evaluated_run(steps=1), SELDOM)
    train_on(scenario, scenario.join(b"a"), 1)

    assert work(scenario.handle(events.StopAsked(), 10.0)) == []
    assert work(scenario.handle(events.StopAsked(), 11.0)) == [("Save", 1)]


def test_a_stop_with_nothing_to_save_gives_up_the_evaluation_of_the_resumed_step() -> None:
    scenario = resumed(evaluated_run(), 2, is_known=False)

    assert scenario.handle(events.StopAsked(), 10.0) == []
    assert scenario.handle(events.StopAsked(), 11.0) == [Finish(None)]


def test_a_save_that_fails_after_its_evaluation_is_tried_again_later() -> None:
    scenario = at_the_start(evaluated_run())
    queue = train_on(scenario, scenario.join(b"a"), 2)
    scenario.handle(events.Evaluated(2, 2.5))
    scenario.handle(events.SaveFailed(2, "no space"))

    train_on(scenario, queue, 2)

    assert work(scenario.seen) == [("Evaluate", 2), ("Save", 2), ("Evaluate", 4)]


def test_the_line_of_a_step_that_waits_for_another_evaluation_is_held_at_once() -> None:
    """Once it is written, its held-out loss could not be added any more."""
    run = evaluated_run(steps=3)
    scenario = Scenario(run, CheckpointEvery(steps=1), evaluations=Evaluations(True))
    assert work(scenario.seen) == [("Evaluate", 0)]
    (task, *_) = scenario.join(b"a")

    effects = scenario.answer(b"a", task)

    assert only(Hold, effects) == [Hold(1)]
    assert work(scenario.handle(events.Evaluated(0, 2.5))) == [("Evaluate", 1)]
