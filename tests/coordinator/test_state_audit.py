"""Liars: workers whose gradients are wrong though their digests are right. None of it stays."""

import random
from dataclasses import replace

import numpy as np
import pytest

from coordinator import events
from coordinator.effects import Finish, GoBack, Recompute, Save
from coordinator.facts import LiarFound, RunWentBack
from coordinator.settings import CheckpointEvery, Settings
from engine.optimizer import Moments
from engine.params import to_bytes
from tests.coordinator.lies import (
    ALWAYS,
    NEVER,
    REFERENCE,
    RUN_,
    finish,
    go_back_to_start,
    lie,
    recompute,
    scenario_of,
    spoil,
    spoilt,
)
from tests.coordinator.scenario import (
    SELDOM,
    Scenario,
    final_save,
    is_finished,
    only,
    sent,
    small_run,
    tasks,
    told,
)
from wire.messages import Hello, Refuse

pytestmark = pytest.mark.unit


def test_an_audited_branch_counts_when_two_workers_have_given_the_same_bits() -> None:
    scenario = scenario_of()
    first, second = scenario.join(b"a")
    copies = scenario.join(b"b")

    scenario.answer(b"a", first)
    scenario.answer(b"a", second)
    assert scenario.training.step == 0
    for copy in copies:
        scenario.answer(b"b", copy)

    assert {(t.lo, t.hi) for t in copies} == {(first.lo, first.hi), (second.lo, second.hi)}
    assert scenario.training.step == 1


def test_a_run_of_which_every_branch_is_audited_has_the_bits_of_the_reference() -> None:
    scenario = scenario_of()
    scenario.join(b"a")
    scenario.join(b"b")

    finish(scenario, b"a", b"b")

    assert to_bytes(final_save(scenario).params) == REFERENCE[-1][1]
    assert only(Recompute, scenario.seen) == []


def test_one_worker_alone_is_audited_by_the_coordinator() -> None:
    scenario = scenario_of()
    scenario.join(b"a")

    finish(scenario, b"a")

    assert to_bytes(final_save(scenario).params) == REFERENCE[-1][1]
    assert len(only(Recompute, scenario.seen)) == 8  # two branches of four steps


def test_a_fraction_of_the_branches_is_audited() -> None:
    scenario = Scenario(
        small_run(steps=40, batch_size=4, shards=2), settings=Settings(SELDOM, audit=0.25)
    )
    done = scenario.join(b"a")
    while not is_finished(scenario) and len(only(Recompute, scenario.seen)) < 100:
        seen = len(scenario.seen)
        for task in done:
            scenario.answer(b"a", task)
        for effect in only(Recompute, scenario.seen[seen:]):
            recompute(scenario, effect)
        done = tasks(scenario.seen[seen:], b"a")
        if not done:
            break

    assert 8 <= len(only(Recompute, scenario.seen)) <= 32  # of 80; 20 expected


def test_a_lie_in_the_open_step_is_undone_without_going_back() -> None:
    scenario = scenario_of()
    first, second = scenario.join(b"a")
    scenario.join(b"b")

    lie(scenario, b"a", first)
    copy = next(t for t in tasks(scenario.seen, b"b") if (t.lo, t.hi) == (first.lo, first.hi))
    (dispute,) = only(Recompute, scenario.answer(b"b", copy))
    effects = recompute(scenario, dispute)

    (refuse,) = [m for m in sent(effects, b"a") if isinstance(m, Refuse)]
    assert (refuse.code, refuse.permanent) == ("QUARANTINE", True)
    assert LiarFound("wa", 1, first.lo, first.hi) in told(effects)
    assert only(GoBack, effects) == []
    assert second.step == 0
    finish(scenario, b"b")
    assert to_bytes(final_save(scenario).params) == REFERENCE[-1][1]


def test_a_late_copy_that_contradicts_a_counted_answer_is_looked_into() -> None:
    scenario, dispute = spoilt()

    effects = recompute(scenario, dispute)

    assert only(GoBack, effects) == [GoBack(0)]
    assert [fact.name for fact in told(effects) if isinstance(fact, LiarFound)] == ["wa"]


def test_the_run_goes_back_to_before_the_liar_came_and_ends_with_honest_bits() -> None:
    scenario, dispute = spoilt()
    recompute(scenario, dispute)

    effects = go_back_to_start(scenario)

    assert RunWentBack(1, 0) in told(effects)
    scenario.ready(b"b")
    finish(scenario, b"b")
    assert to_bytes(final_save(scenario).params) == REFERENCE[-1][1]
    assert final_save(scenario).contributors == {"wb": 0}


def test_a_liar_is_not_let_in_again_and_what_it_still_says_is_not_heard() -> None:
    scenario, dispute = spoilt()
    of_liar = tasks(scenario.seen, b"a")[0]
    recompute(scenario, dispute)
    go_back_to_start(scenario)

    late = scenario.answer(b"a", of_liar)
    again = scenario.receive(b"z", Hello(2, "wa", "host", 11, "versions"))

    assert not scenario.training.board.is_summed((of_liar.lo, of_liar.hi))
    assert only(Recompute, [*late]) == []
    (refuse,) = sent(again, b"z")
    assert isinstance(refuse, Refuse)
    assert refuse.code == "QUARANTINE"


def test_what_a_liar_did_in_an_earlier_generation_is_undone_as_well() -> None:
    """A coordinator that was started again knows from the checkpoint who has contributed."""
    run = small_run(steps=4, batch_size=4, shards=1)
    scenario = Scenario(run, settings=ALWAYS, contributors={"wa": 2, "wb": 0})
    scenario.training.go_to(3, run.params, Moments.zeros(run.model.num_params), 1.0)
    (task,) = scenario.join(b"a")

    (dispute,) = only(Recompute, lie(scenario, b"a", task))
    effects = recompute(scenario, dispute)

    assert only(GoBack, effects) == [GoBack(2)]


def test_a_run_that_should_stop_on_a_liar_goes_back_first_and_says_who_it_was() -> None:
    scenario, dispute = spoilt(Settings(SELDOM, stops_on_liar=True))

    assert only(GoBack, recompute(scenario, dispute)) == [GoBack(0)]
    (finished,) = only(Finish, go_back_to_start(scenario))

    assert finished.failure is not None
    assert "got other bits from wa — step 1" in finished.failure


def test_a_run_is_neither_saved_nor_done_while_an_answer_is_disputed() -> None:
    """What is durable and wrong would be trained on by whoever resumes."""
    scenario, dispute = spoilt(Settings(CheckpointEvery(steps=1)))
    scenario.handle(events.Saved(1, 0.5))
    before = len(only(Save, scenario.seen))
    scenario.ready(b"b")
    for _ in range(20):
        for peer in (b"a", b"b"):
            for task in tasks(scenario.seen, peer)[-2:]:
                scenario.answer(peer, task)

    assert scenario.training.is_finished
    assert len(only(Save, scenario.seen)) == before
    assert not is_finished(scenario)
    assert only(GoBack, recompute(scenario, dispute)) == [GoBack(0)]


def test_a_stop_during_a_dispute_does_not_save_what_may_be_wrong() -> None:
    scenario, _dispute = spoilt()

    effects = scenario.handle(events.StopAsked())

    assert only(Save, effects) == []
    assert only(Finish, effects) == [Finish(None)]


def test_an_answer_that_nobody_asked_for_is_audited_like_any_other() -> None:
    scenario = Scenario(small_run(steps=4, batch_size=6, shards=5), settings=ALWAYS)
    first, second = scenario.join(b"a")
    leased = [(task.lo, task.hi) for task in (first, second)]
    lo, hi = next(b for b in scenario.training.board.waiting if b not in leased)

    effects = scenario.answer(b"a", first, lo=lo, hi=hi, lease=999)

    assert not scenario.training.board.is_summed((lo, hi))
    assert [effect.branch for effect in only(Recompute, effects)] == [(lo, hi)]


def test_two_liars_are_both_found_whichever_dispute_ends_first() -> None:
    scenario = scenario_of(NEVER)
    dispute_of_a = spoil(scenario)
    of_a = [task for task in tasks(scenario.seen, b"a") if task.step == 1]
    scenario.handle(events.Departed(b"a"))
    (of_c, *_) = scenario.join(b"c")
    lie(scenario, b"c", of_c)
    late = replace(scenario.hand.compute(of_c), sid=of_a[0].sid)
    (dispute_of_c,) = only(Recompute, scenario.receive(b"x", late))

    effects = recompute(scenario, dispute_of_c)
    effects += recompute(scenario, dispute_of_a)

    assert only(GoBack, effects) == [GoBack(0)]
    liars = [fact.name for fact in told(effects) if isinstance(fact, LiarFound)]
    assert liars == ["wc", "wa"]


def test_numbers_too_large_to_apply_are_looked_into_before_training_has_diverged() -> None:
    scenario, dispute = spoilt()
    large = np.full(scenario.run.model.num_params, 1e308).tobytes()

    for task in [task for task in tasks(scenario.seen, b"a") if task.step == 1]:
        scenario.answer(b"a", task, payload=large)

    assert not is_finished(scenario)
    assert only(GoBack, recompute(scenario, dispute)) == [GoBack(0)]


def test_nothing_is_trained_beyond_the_last_step_while_it_is_disputed() -> None:
    scenario, _dispute = spoilt()
    scenario.ready(b"b")
    for _ in range(20):
        for peer in (b"a", b"b"):
            for task in tasks(scenario.seen, peer)[-2:]:
                scenario.answer(peer, task)
    training = scenario.training
    assert training.is_finished
    ((lo, hi),) = training.board.waiting

    last = tasks(scenario.seen, b"b")[-1]
    digest = training.params_digest
    scenario.answer(b"b", last, step=training.step, lo=lo, hi=hi, params_digest=digest)

    assert training.step == RUN_.train.steps


def test_who_was_refused_for_its_arithmetic_contributes_nothing_afterwards() -> None:
    scenario = scenario_of(NEVER)
    task, _ = scenario.join(b"a")
    scenario.ready(b"a", fingerprint="another")

    scenario.answer(b"a", task)

    assert not scenario.training.board.is_summed((task.lo, task.hi))


def test_what_is_audited_cannot_be_foretold_from_session_ids() -> None:
    """They come from a generator whose state can be computed from what it has given."""
    scenario = scenario_of(Settings(SELDOM, audit=0.5))
    rng = random.Random(1)
    rng.getrandbits(64)  # of which the audits' own generator is made

    sids = [scenario.hello(bytes([97 + i])).sid for i in range(3)]

    assert sids == [rng.getrandbits(62) for _ in range(3)]


@pytest.mark.parametrize("payload", [b"", b"seven b", bytes(8)])
def test_a_late_answer_of_no_length_at_all_is_passed_over(payload: bytes) -> None:
    scenario, _dispute = spoilt()
    task = tasks(scenario.seen, b"a")[0]

    assert only(Recompute, scenario.answer(b"a", task, payload=payload)) == []


def test_an_answer_that_is_not_a_number_and_late_is_no_lie() -> None:
    """In time it would have been asked again, without blame."""
    scenario, _dispute = spoilt()
    task = tasks(scenario.seen, b"a")[1]

    effects = scenario.answer(b"a", task, loss_sum=float("nan"))

    assert only(Recompute, effects) == []


@pytest.mark.parametrize("seed", range(30))
def test_whoever_lies_now_and_then_is_found_and_leaves_no_trace(seed: int) -> None:
    """Three workers, one of them wrong in a third of its answers, every second branch audited."""
    rng = random.Random(seed)
    scenario = scenario_of(Settings(SELDOM, audit=0.5))
    held = [(peer, task) for peer in (b"a", b"b", b"c") for task in scenario.join(peer)]
    for _ in range(400):
        if is_finished(scenario) or not held:
            break
        seen = len(scenario.seen)
        peer, task = held.pop(rng.randrange(len(held)))
        if peer == b"a" and rng.random() < 0.34:
            lie(scenario, peer, task)
        else:
            scenario.answer(peer, task)
        for effect in scenario.seen[seen:]:
            if isinstance(effect, Recompute):
                recompute(scenario, effect)
        if only(GoBack, scenario.seen[seen:]):
            go_back_to_start(scenario)
        held += [(p, t) for p in (b"a", b"b", b"c") for t in tasks(scenario.seen[seen:], p)]

    is_found = any(isinstance(fact, LiarFound) for fact in told(scenario.seen))
    params = to_bytes(final_save(scenario).params)
    assert (params == REFERENCE[-1][1]) or not is_found
    assert {fact.name for fact in told(scenario.seen) if isinstance(fact, LiarFound)} <= {"wa"}
