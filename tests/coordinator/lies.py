"""Runs in which a worker lies, and how they are settled."""

from dataclasses import replace

import numpy as np

from coordinator import events
from coordinator.effects import Recompute, Save
from coordinator.leases import BranchSum
from coordinator.settings import Settings
from engine.branch import sum_branch
from engine.eager import Eager
from engine.optimizer import Moments
from engine.run import Run
from tests.coordinator.scenario import (
    SELDOM,
    Hand,
    Scenario,
    is_finished,
    only,
    reference,
    small_run,
    tasks,
    work_of,
)
from wire.messages import Task

RUN_ = small_run(steps=4, batch_size=4, shards=2)
HAND = Hand(RUN_)
REFERENCE = reference(RUN_)
ALWAYS = Settings(SELDOM, audit=1.0)
NEVER = Settings(SELDOM)


def scenario_of(settings: Settings = ALWAYS, run: Run = RUN_) -> Scenario:
    return Scenario(run, settings=settings, hand=HAND)


def lie(scenario: Scenario, peer: bytes, task: Task, now: float = 0.0) -> list[object]:
    """Answer with a gradient that is off by one bit, and right digests."""
    payload = scenario.hand.compute(task).payload
    return [*scenario.answer(peer, task, now, payload=bytes([payload[0] ^ 1]) + payload[1:])]


def recompute(scenario: Scenario, effect: Recompute) -> list[object]:
    """Do what the coordinator asks of its own engine."""
    run = scenario.run
    total = sum_branch(
        Eager(run.model), work_of(run), effect.params, effect.documents, effect.branch
    )
    truth = BranchSum(total.loss, np.frombuffer(total.grad))
    return [*scenario.handle(events.Recomputed(effect.dispute, truth))]


def go_back_to_start(scenario: Scenario) -> list[object]:
    run = scenario.run
    moments = Moments.zeros(run.model.num_params)
    return [*scenario.handle(events.WentBack(0, run.params, moments, None, durable_step=0))]


def finish(scenario: Scenario, *peers: bytes) -> None:
    """Have honest workers answer everything that is out, and settle every dispute."""
    done: list[object] = []
    while not is_finished(scenario):
        todo = [e for e in scenario.seen if not any(e is other for other in done)]
        assert todo, "the run hangs"
        for effect in todo:
            done.append(effect)
            if isinstance(effect, Recompute):
                recompute(scenario, effect)
            for peer in peers:
                for task in tasks([effect], peer):
                    scenario.answer(peer, task)
        for save in only(Save, todo):
            if save.step == RUN_.train.steps:
                scenario.handle(events.Saved(save.step, 0.5))


def spoilt(settings: Settings = NEVER) -> tuple[Scenario, Recompute]:
    scenario = scenario_of(settings)
    return scenario, spoil(scenario)


def spoil(scenario: Scenario) -> Recompute:
    """Count a liar in step 0, and have a late copy of an honest one contradict it."""
    honest = scenario.join(b"b")
    scenario.handle(events.Departed(b"b"))
    for task in scenario.join(b"a"):
        lie(scenario, b"a", task)
    assert scenario.training.step == 1
    scenario.hello(b"b")
    late = replace(HAND.compute(honest[0]), sid=honest[0].sid)
    (dispute,) = only(Recompute, scenario.receive(b"b", late))
    return dispute
