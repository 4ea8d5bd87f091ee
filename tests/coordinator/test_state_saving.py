"""When the coordinator saves, and how it ends: nobody leaves before the last step is durable."""

import pytest

from coordinator import events
from coordinator.effects import Finish, Save, Send, Tell
from coordinator.facts import CheckpointDurable, CheckpointFailed
from coordinator.settings import CheckpointEvery
from tests.coordinator.scenario import RUN, Scenario, fingerprint_of, only, small_run, tasks
from wire.messages import Bye, Hello, Task

pytestmark = pytest.mark.unit

HELLO = Hello(1, "wa", "host", 11, "versions")


# ---- saving -------------------------------------------------------------------------------------


def train_on(scenario: Scenario, queue: list[Task], steps: int, now: float = 0.0) -> list[Task]:
    """Answer one branch a step until `steps` more are committed."""
    for _ in range(steps):
        queue = tasks(scenario.answer(b"a", queue[0], now), b"a")
    return queue


def test_a_new_run_saves_its_start() -> None:
    scenario = Scenario(small_run(), durable_step=-1)

    (save,) = only(Save, scenario.seen)

    assert (save.step, save.loss) == (0, None)
    assert save.params == scenario.run.params


def test_a_resumed_run_does_not_save_what_is_on_disk() -> None:
    assert Scenario(small_run(), durable_step=0).seen == []


def test_every_so_many_steps_are_saved() -> None:
    scenario = Scenario(small_run(steps=9, shards=1), CheckpointEvery(steps=2))
    queue = scenario.join(b"a")

    for step in range(1, 6):
        queue = train_on(scenario, queue, 1)
        if step % 2 == 0:
            assert scenario.handle(events.Saved(step, 0.5)) == [Tell(CheckpointDurable(step, 0.5))]

    assert [save.step for save in only(Save, scenario.seen)] == [2, 4]


def test_a_save_is_due_after_so_many_seconds() -> None:
    scenario = Scenario(small_run(steps=9, shards=1), CheckpointEvery(None, 5.0))
    queue = scenario.join(b"a")

    queue = train_on(scenario, queue, 1, now=4.9)
    queue = train_on(scenario, queue, 1, now=5.0)
    scenario.handle(events.Saved(2, 0.5), 5.0)
    queue = train_on(scenario, queue, 1, now=9.9)
    train_on(scenario, queue, 1, now=10.0)

    assert [save.step for save in only(Save, scenario.seen)] == [2, 4]


def test_at_most_one_save_is_under_way() -> None:
    scenario = Scenario(small_run(steps=9, shards=1), CheckpointEvery(steps=1))

    train_on(scenario, scenario.join(b"a"), 3)

    assert [save.step for save in only(Save, scenario.seen)] == [1]


def test_a_failed_save_is_told_and_tried_again_later() -> None:
    scenario = Scenario(small_run(steps=9, shards=1), CheckpointEvery(steps=2))
    queue = train_on(scenario, scenario.join(b"a"), 2)

    effects = scenario.handle(events.SaveFailed(2, "no space"))
    train_on(scenario, queue, 2)

    assert effects == [Tell(CheckpointFailed(2, "no space", 2))]
    assert [save.step for save in only(Save, scenario.seen)] == [2, 4]
    assert only(Finish, scenario.seen) == []


# ---- leaving ------------------------------------------------------------------------------------


def test_the_last_step_is_saved_before_anybody_is_told_to_go() -> None:
    scenario = Scenario(small_run(steps=2, shards=1))
    sid_of_idler = scenario.hello(b"b").sid

    train_on(scenario, scenario.join(b"a"), 2)
    assert [save.step for save in only(Save, scenario.seen)] == [2]
    assert only(Finish, scenario.seen) == []
    effects = scenario.handle(events.Saved(2, 0.5))

    assert effects == [
        Tell(CheckpointDurable(2, 0.5)),
        Send(b"b", Bye(RUN, 4, sid_of_idler, "done", 2)),
        Send(b"a", Bye(RUN, 4, scenario.welcomes[b"a"].sid, "done", 2)),
        Finish(None),
    ]


def test_being_asked_to_stop_saves_the_last_committed_step_and_leaves() -> None:
    scenario = Scenario(small_run(shards=1))
    train_on(scenario, scenario.join(b"a"), 1)

    (save,) = scenario.handle(events.StopAsked())
    effects = scenario.handle(events.Saved(1, 0.5))

    training = scenario.training
    fingerprint = fingerprint_of(scenario.run)
    assert save == Save(1, training.params, training.moments, training.loss, {"wa": 0}, fingerprint)
    sid = scenario.welcomes[b"a"].sid
    assert effects[1:] == [Send(b"a", Bye(RUN, 4, sid, "stopping", 1)), Finish(None)]


def test_being_asked_to_stop_with_nothing_new_leaves_at_once() -> None:
    scenario = Scenario(small_run())

    assert scenario.handle(events.StopAsked()) == [Finish(None)]


def test_a_save_under_way_is_waited_for_and_then_the_newest_step_is_saved() -> None:
    scenario = Scenario(small_run(shards=1), CheckpointEvery(steps=1))
    train_on(scenario, scenario.join(b"a"), 2)

    assert scenario.handle(events.StopAsked()) == []
    told_and_saved = scenario.handle(events.Saved(1, 0.5))

    assert told_and_saved[0] == Tell(CheckpointDurable(1, 0.5))
    assert [save.step for save in only(Save, told_and_saved)] == [2]
    assert only(Finish, scenario.seen) == []


def test_being_asked_to_stop_twice_changes_nothing() -> None:
    scenario = Scenario(small_run(shards=1))
    train_on(scenario, scenario.join(b"a"), 1)
    scenario.handle(events.StopAsked())

    assert scenario.handle(events.StopAsked()) == []


def test_no_gradient_is_counted_while_leaving() -> None:
    scenario = Scenario(small_run(shards=1))
    queue = train_on(scenario, scenario.join(b"a"), 1)
    scenario.handle(events.StopAsked())

    assert scenario.answer(b"a", queue[0]) == []
    assert scenario.training.step == 1


def test_a_failed_last_save_names_the_newest_durable_step() -> None:
    scenario = Scenario(small_run(steps=3, shards=1), CheckpointEvery(steps=2))
    queue = train_on(scenario, scenario.join(b"a"), 2)
    scenario.handle(events.Saved(2, 0.5))
    train_on(scenario, queue, 1)

    effects = scenario.handle(events.SaveFailed(3, "no space"))

    assert effects[0] == Tell(CheckpointFailed(3, "no space", 1))
    assert effects[-1] == Finish("no space; step 2 is durable: make room and go on with --resume")


def test_a_failed_only_save_says_that_there_is_none() -> None:
    scenario = Scenario(small_run(), durable_step=-1)
    scenario.handle(events.StopAsked())

    effects = scenario.handle(events.SaveFailed(0, "no space"))

    assert effects[-1] == Finish("no space; no step is durable: make room and go on with --resume")


def test_nothing_happens_after_the_end() -> None:
    scenario = Scenario(small_run())
    scenario.handle(events.StopAsked())

    assert scenario.receive(b"a", HELLO) == []
    assert scenario.handle(events.Ticked(), 1000.0) == []
    assert scenario.handle(events.Saved(0, 0.5)) == []


def test_a_finished_run_that_is_started_again_ends_at_once() -> None:
    run = small_run(steps=1, shards=1)
    first = Scenario(run)
    train_on(first, first.join(b"a"), 1)

    again = Scenario(run, durable_step=1, training=first.training)

    assert again.seen == [Finish(None)]
