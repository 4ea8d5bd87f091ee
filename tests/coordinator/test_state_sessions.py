"""Sessions: who is heard, who is given up, and what of a worker that begins anew."""

import pytest

from coordinator import events
from coordinator.effects import Evaluate, Save, Send
from coordinator.evaluations import Evaluations
from coordinator.facts import LiarFound, MemberLost
from coordinator.members import NAMES_KEPT, Member, Members
from coordinator.settings import CheckpointEvery
from engine.optimizer import Moments
from tests.coordinator.scenario import RUN, Scenario, only, result, sent, small_run, tasks, told
from tests.coordinator.test_state_audit import NEVER, lie, recompute, scenario_of, spoil
from wire.messages import Hello, Pong, Refuse, Who

pytestmark = pytest.mark.unit


def test_a_gradient_before_ready_is_not_counted() -> None:
    """Whoever does not say READY has not shown that it computes what we compute."""
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    stranger = scenario.hello(b"b")

    scenario.answer(b"b", task, sid=stranger.sid)

    assert scenario.training.step == 0
    assert scenario.training.board.leases_of((0, 1)) != []


def test_a_gradient_of_other_parameters_whose_lease_is_over_is_stale() -> None:
    """Its run went back meanwhile: that is no reason to refuse an honest worker."""
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    effects = scenario.answer(b"a", task, params_digest="0" * 64, lease=task.lease + 99)

    assert sent(effects, b"a")[0] == result(task, "STALE")
    assert not [m for m in sent(effects, b"a") if isinstance(m, Refuse)]


def test_a_coordinator_that_stood_still_judges_nobody_by_that_time() -> None:
    scenario = Scenario(small_run())
    scenario.join(b"a")

    assert told(scenario.handle(events.Ticked(), 100.0)) == []
    assert len(told(scenario.handle(events.Ticked(), 100.5))) == 0


def test_a_process_has_one_session_whatever_socket_it_comes_from() -> None:
    """Its branches are free at once: the connection that it left may linger."""
    scenario = Scenario(small_run(shards=1))
    scenario.join(b"a")

    effects = scenario.receive(b"z", Hello(2, "wa", "host", 11, "versions"))

    assert told(effects) == [MemberLost("wa", "it began anew", 1, 0)]


def test_a_silent_member_is_told_who_for_it_may_still_hear() -> None:
    scenario = Scenario(small_run())
    scenario.join(b"a")
    sid = scenario.welcomes[b"a"].sid

    assert Send(b"a", Who(RUN, 4, sid)) in scenario.wait(3.2)


def test_to_begin_anew_is_no_progress() -> None:
    scenario = Scenario(small_run(shards=1))
    scenario.join(b"a")
    for now in range(1, 40):
        scenario.wait(float(now))
        if not scenario.state.status(float(now)).members:
            break
        scenario.receive(b"a", Pong(RUN, 4, scenario.welcomes[b"a"].sid, 0.0), float(now))
        scenario.ready(b"a", float(now))

    lost = [fact for fact in told(scenario.seen) if isinstance(fact, MemberLost)]
    assert [fact.reason for fact in lost] == ["it makes no progress"]


def test_only_so_many_sessions_are_remembered() -> None:
    members = Members()
    for sid in range(NAMES_KEPT + 1):
        one = Member(b"a", sid, f"w{sid}", "host", 1, 0.0, 0.0)
        members.add(one)
        members.make_ready(one, 0.0)
        members.remove(one)

    assert members.name_of(0) is None
    assert members.name_of(1) == "w1"


def test_a_liar_is_told_of_once_however_many_of_its_answers_are_disputed() -> None:
    scenario = scenario_of(NEVER)
    first = spoil(scenario)
    open_tasks = [task for task in tasks(scenario.seen, b"a") if task.step == 1]
    honest = scenario.hand.compute(open_tasks[0])
    lie(scenario, b"a", open_tasks[0])
    (second,) = only(type(first), scenario.receive(b"a", honest))

    effects = recompute(scenario, first) + recompute(scenario, second)

    assert len([fact for fact in told(effects) if isinstance(fact, LiarFound)]) == 1


def test_the_held_out_loss_of_a_step_that_was_undone_is_no_other_steps() -> None:
    """The same number, other parameters: it is evaluated again."""
    run = small_run(steps=3, shards=1, held_out=0.5)
    every = CheckpointEvery(steps=1)
    scenario = Scenario(run, every, evaluations=Evaluations(True, is_first_known=True))
    (task, *_) = scenario.join(b"a")
    scenario.answer(b"a", task)
    moments = Moments.zeros(run.model.num_params)
    back = events.WentBack(0, run.params, moments, None, durable_step=0)
    (again, *_) = tasks(scenario.handle(back), b"a")
    scenario.answer(b"a", again)

    effects = scenario.handle(events.Evaluated(1, 9.9))

    assert told(effects) == []
    assert only(Save, effects) == []
    assert [effect.step for effect in only(Evaluate, effects)] == [1]
