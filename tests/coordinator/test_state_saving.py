"""When the coordinator saves, and how it ends: nobody leaves before the last step is durable."""

import pytest

from coordinator import events
from coordinator.effects import Evaluate, Finish, Save, Send, Tell
from coordinator.facts import CheckpointDurable, CheckpointFailed
from coordinator.phases import LAST_SAVE_S
from coordinator.settings import CheckpointEvery, Settings
from tests.coordinator.scenario import RUN, Scenario, fingerprint_of, only, small_run, tasks
from wire.messages import Bye, Hello, Task

pytestmark = pytest.mark.unit

HELLO = Hello(2, "wa", "host", 11, "versions")


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
            assert scenario.handle(events.Saved(step, 0.5)) == [
                Tell(CheckpointDurable(step, 0.5, 0))
            ]

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

    assert effects == [Tell(CheckpointFailed(2, "no space", 2, 1))]
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
        Tell(CheckpointDurable(2, 0.5, 0)),
        Send(b"a", Bye(RUN, 4, scenario.welcomes[b"a"].sid, "done", 2)),
        Send(b"b", Bye(RUN, 4, sid_of_idler, "done", 2)),
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

    assert told_and_saved[0] == Tell(CheckpointDurable(1, 0.5, 0))
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

    assert effects[0] == Tell(CheckpointFailed(3, "no space", 1, 1))
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


# ---- a disk that does not take it ---------------------------------------------------------------


def at_risk(unsaved_max: int) -> Scenario:
    """A run that saves every second step, and may lose so many."""
    settings = Settings(CheckpointEvery(steps=2), unsaved_max=unsaved_max)
    return Scenario(small_run(steps=9, shards=1), settings=settings)


def test_a_run_whose_saves_fail_stops_before_too_much_is_at_risk() -> None:
    scenario = at_risk(5)
    queue = train_on(scenario, scenario.join(b"a"), 2)
    scenario.handle(events.SaveFailed(2, "no space"))
    queue = train_on(scenario, queue, 2)
    scenario.handle(events.SaveFailed(4, "no space"))
    assert only(Finish, scenario.seen) == []

    train_on(scenario, queue, 1)
    assert [save.step for save in only(Save, scenario.seen)] == [2, 4, 5], "a last attempt"
    effects = scenario.handle(events.SaveFailed(5, "no space"))

    assert effects[-1] == Finish(
        "expected a save within 5 steps, got none: no space; step 0 is durable:"
        " make room and go on with --resume"
    )


def test_a_run_that_stops_because_of_its_disk_has_failed_even_if_the_last_save_succeeds() -> None:
    scenario = at_risk(2)
    train_on(scenario, scenario.join(b"a"), 2)

    (told, save) = scenario.handle(events.SaveFailed(2, "no space"))
    effects = scenario.handle(events.Saved(2, 0.5))

    assert told == Tell(CheckpointFailed(2, "no space", 2, 1))
    assert isinstance(save, Save)
    (finish,) = only(Finish, effects)
    assert finish.failure is not None
    assert "step 2 is durable" in finish.failure


def test_a_save_that_succeeds_again_ends_the_risk() -> None:
    scenario = at_risk(4)
    queue = train_on(scenario, scenario.join(b"a"), 2)
    scenario.handle(events.SaveFailed(2, "no space"))
    assert scenario.state.status(0.0).save_trouble == "no space"
    queue = train_on(scenario, queue, 1)

    queue = train_on(scenario, queue, 1)
    assert only(Finish, scenario.seen) == [], "step 4 is being saved: that counts only once it has"
    scenario.handle(events.Saved(4, 0.5))

    assert scenario.state.status(0.0).save_trouble == ""
    train_on(scenario, queue, 4)
    assert only(Finish, scenario.seen) == []


def test_who_asks_for_a_stop_does_not_wait_for_a_disk_that_does_not_answer() -> None:
    scenario = Scenario(small_run(shards=1))
    train_on(scenario, scenario.join(b"a"), 1)
    scenario.handle(events.StopAsked(), 10.0)

    assert scenario.handle(events.StopAsked(), 10.0 + LAST_SAVE_S - 0.1) == []
    effects = scenario.handle(events.StopAsked(), 10.0 + LAST_SAVE_S)

    sid = scenario.welcomes[b"a"].sid
    assert effects == [
        Send(b"a", Bye(RUN, 4, sid, "stopping", 0)),
        Finish(
            "expected step 1 to be saved within 8 s, got no answer; step 0 is durable:"
            " make room and go on with --resume"
        ),
    ]


def test_a_run_that_is_done_waits_for_its_disk() -> None:
    scenario = Scenario(small_run(steps=1, shards=1))
    train_on(scenario, scenario.join(b"a"), 1)

    assert only(Finish, scenario.handle(events.Ticked(), 1000.0)) == []
    assert only(Finish, scenario.handle(events.Saved(1, 999.0), 1000.0)) == [Finish(None)]


def test_committed_and_durable_are_told_apart() -> None:
    scenario = Scenario(small_run(steps=9, shards=1), CheckpointEvery(steps=2))
    queue = train_on(scenario, scenario.join(b"a"), 2)

    train_on(scenario, queue, 1)

    status = scenario.state.status(0.0)
    assert (status.step, status.durable_step, status.saving_step) == (3, 0, 2)
    scenario.handle(events.Saved(2, 0.5))
    status = scenario.state.status(0.0)
    assert (status.step, status.durable_step, status.saving_step) == (3, 2, None)


# ---- arithmetic ---------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_arithmetic_it_was_trained_with() -> None:
    run = small_run(shards=1)
    scenario = Scenario(run, fingerprint=fingerprint_of(run))

    train_on(scenario, scenario.join(b"a"), 1)

    assert scenario.training.step == 1


def test_a_run_that_was_trained_with_other_arithmetic_is_left_alone() -> None:
    run = small_run(shards=1)
    scenario = Scenario(run, fingerprint="5f" * 32)

    (finish,) = scenario.seen
    assert isinstance(finish, Finish)
    assert finish.failure is not None
    assert finish.failure.startswith(
        "expected the arithmetic that the run was trained with (fingerprint 5f5f5f5f5f5f), got "
        + fingerprint_of(run)[:12]
    )
    assert "--accept-numerics" in finish.failure
    assert scenario.receive(b"a", HELLO) == []


def test_other_arithmetic_leaves_no_held_out_loss_behind() -> None:
    """The evaluation that the run began with is not the run's."""
    run = small_run(shards=1, held_out=0.5)
    scenario = Scenario(run, fingerprint="5f" * 32)
    assert [one.step for one in only(Evaluate, scenario.seen)] == [0], "it was asked for at once"

    effects = scenario.handle(events.Evaluated(0, 2.5))

    assert only(Tell, effects) == []
    assert len(only(Finish, effects)) == 1


def test_other_arithmetic_may_be_accepted_and_is_recorded_from_then() -> None:
    run = small_run(shards=1)
    settings = Settings(CheckpointEvery(steps=1), accepts_numerics=True)
    scenario = Scenario(run, settings=settings, fingerprint="5f" * 32)

    train_on(scenario, scenario.join(b"a"), 1)

    assert [save.fingerprint for save in only(Save, scenario.seen)] == [fingerprint_of(run)]
