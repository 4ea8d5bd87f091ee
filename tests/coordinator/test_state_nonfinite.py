"""Gradients that are no numbers: a worker may be wrong, training may have diverged."""

import math

import numpy as np
import pytest

from coordinator import events
from coordinator.effects import Effect, Finish, Recompute, Save
from coordinator.facts import GradNotCounted
from coordinator.leases import BranchSum
from engine.params import to_bytes
from tests.coordinator.scenario import (
    Scenario,
    final_save,
    is_finished,
    only,
    reference,
    result,
    sent,
    small_run,
    tasks,
    told,
    vector_of,
)

pytestmark = pytest.mark.unit


def verdict(scenario: Scenario, dispute: Recompute, loss: float) -> list[Effect]:
    """Have the coordinator's own engine say something of a branch."""
    grad = np.zeros(scenario.run.model.num_params)
    return scenario.handle(events.Recomputed(dispute.dispute, BranchSum(loss, grad)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_goes_to_another_worker(value: float) -> None:
    scenario = Scenario(small_run(batch_size=1, shards=1))
    (task,) = scenario.join(b"a")
    scenario.join(b"b")

    effects = scenario.answer(b"a", task, payload=vector_of(scenario, value))

    assert sent(effects, b"a") == [result(task, "NONFINITE")]
    assert [(t.lo, t.hi) for t in tasks(effects, b"b")] == [(0, 1)]
    assert told(effects) == [GradNotCounted("wa", 1, "NONFINITE")]


def test_one_answer_that_is_no_number_said_twice_is_one_answer() -> None:
    scenario = Scenario(small_run(batch_size=1, shards=1))
    (task,) = scenario.join(b"a")
    scenario.join(b"b")

    for _ in range(3):
        scenario.answer(b"a", task, payload=vector_of(scenario, math.nan))

    assert not is_finished(scenario)


def test_a_loss_that_is_no_number_is_not_counted() -> None:
    scenario = Scenario(small_run())
    task, _ = scenario.join(b"a")

    effects = scenario.answer(b"a", task, loss_sum=math.nan)

    assert sent(effects, b"a")[0] == result(task, "NONFINITE")


def test_a_wrong_answer_of_one_worker_does_not_end_the_run() -> None:
    run = small_run(steps=1, batch_size=2, shards=2)
    scenario = Scenario(run)
    first, second = scenario.join(b"a")
    scenario.join(b"b")

    (of_b,) = tasks(scenario.answer(b"a", first, payload=vector_of(scenario, math.nan)), b"b")
    scenario.answer(b"b", of_b)
    scenario.answer(b"a", second)

    assert to_bytes(final_save(scenario).params) == reference(run)[0][1]


def test_two_equal_answers_that_are_no_numbers_end_the_run_without_a_save() -> None:
    scenario = Scenario(small_run(batch_size=2, shards=2))
    first, _ = scenario.join(b"a")
    scenario.join(b"b")
    nan = vector_of(scenario, math.nan)
    (of_b,) = tasks(scenario.answer(b"a", first, payload=nan), b"b")

    (dispute,) = only(Recompute, scenario.answer(b"b", of_b, payload=nan))
    assert not is_finished(scenario)
    effects = verdict(scenario, dispute, math.nan)

    (finish,) = only(Finish, effects)
    assert finish.failure is not None
    assert "training diverged" in finish.failure
    assert "step 1" in finish.failure
    assert only(Save, scenario.seen) == []
    assert {message.reason for peer in (b"a", b"b") for message in sent(effects, peer)} == {
        "stopping"
    }


def test_two_equal_answers_that_the_coordinator_does_not_get_itself_end_nothing() -> None:
    """One process under two names must not be able to end a run."""
    run = small_run(steps=1, batch_size=2, shards=2)
    scenario = Scenario(run)
    first, second = scenario.join(b"a")
    scenario.join(b"b")
    nan = vector_of(scenario, math.nan)
    (of_b,) = tasks(scenario.answer(b"a", first, payload=nan), b"b")

    (dispute,) = only(Recompute, scenario.answer(b"b", of_b, payload=nan))
    truth = scenario.training.branch_sum(scenario.hand.compute(first))
    scenario.handle(events.Recomputed(dispute.dispute, truth))
    scenario.answer(b"a", second)

    assert to_bytes(final_save(scenario).params) == reference(run)[0][1]


def test_a_lone_worker_may_try_its_own_answer_again() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    (again,) = tasks(scenario.answer(b"a", task, payload=vector_of(scenario, math.inf)), b"a")
    scenario.answer(b"a", again)

    assert scenario.training.step == 1


def test_three_different_answers_that_are_no_numbers_end_the_run() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    for value in (math.inf, -math.inf):
        (task,) = tasks(scenario.answer(b"a", task, payload=vector_of(scenario, value)), b"a")
    effects = scenario.answer(b"a", task, payload=vector_of(scenario, math.nan))
    effects = verdict(scenario, only(Recompute, effects)[0], math.nan)

    assert "training diverged" in (only(Finish, effects)[0].failure or "")


def test_an_update_that_leaves_the_floats_ends_the_run_and_keeps_the_step() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    effects = scenario.answer(b"a", task, payload=vector_of(scenario, 1e300))

    assert "Adam's update" in (only(Finish, effects)[0].failure or "")
    assert scenario.training.step == 0
    assert scenario.training.params == scenario.run.params


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_finite_gradients_whose_sum_is_infinite_do_not_become_parameters() -> None:
    scenario = Scenario(small_run(batch_size=2, shards=2))
    first, second = scenario.join(b"a")
    huge = vector_of(scenario, 1.7e308)

    scenario.answer(b"a", first, payload=huge)
    effects = scenario.answer(b"a", second, payload=huge)

    assert "training diverged" in (only(Finish, effects)[0].failure or "")
    assert scenario.training.params == scenario.run.params


def test_finite_losses_whose_sum_is_infinite_are_not_committed() -> None:
    scenario = Scenario(small_run(batch_size=2, shards=2))
    first, second = scenario.join(b"a")

    scenario.answer(b"a", first, loss_sum=1.7e308)
    scenario.answer(b"a", second, loss_sum=1.7e308)

    assert scenario.training.step == 0
