"""The coordinator's conversation: who is welcomed, what is leased, who is told to go."""

import pytest

from coordinator import events
from coordinator.effects import Send, Tell
from coordinator.facts import (
    MemberJoined,
    MemberLost,
    MessageDropped,
    PeerRefused,
)
from engine.params import to_bytes
from tests.coordinator.scenario import (
    RUN,
    Scenario,
    sent,
    small_run,
    tasks,
    told,
    work_of,
)
from wire.messages import (
    Bye,
    Cancel,
    Hello,
    Ping,
    Pong,
    Progress,
    Ready,
    Refuse,
    Task,
    Welcome,
    Who,
)

pytestmark = pytest.mark.unit

HELLO = Hello(2, "wa", "host", 11, "versions")


# ---- joining ------------------------------------------------------------------------------------


def test_hello_is_answered_by_welcome_and_nothing_else() -> None:
    scenario = Scenario(small_run())

    effects = scenario.receive(b"a", HELLO)

    (send,) = effects
    sid = send.message.sid
    config = work_of(scenario.run).to_json()
    assert effects == [Send(b"a", Welcome(2, RUN, 4, sid, config, 1.0))]


def test_every_session_has_an_id_of_its_own() -> None:
    scenario = Scenario(small_run())

    sids = {scenario.hello(peer).sid for peer in (b"a", b"b", b"a")}

    assert len(sids) == 3


def test_ready_is_told_and_answered_with_two_leases() -> None:
    scenario = Scenario(small_run())
    scenario.hello(b"a")

    effects = scenario.ready(b"a")

    assert effects[0] == Tell(MemberJoined("wa", "host", 11, 1))
    assert [type(message) for message in sent(effects[1:], b"a")] == [Task, Task]
    assert len(effects) == 3


def test_parameters_travel_once_and_then_by_digest() -> None:
    scenario = Scenario(small_run())

    first, second = scenario.join(b"a")

    assert first.params == to_bytes(scenario.run.params)
    assert second.params == b""
    assert first.params_digest == second.params_digest


def test_a_worker_that_holds_the_parameters_is_not_sent_them() -> None:
    scenario = Scenario(small_run())

    both = scenario.join(b"a", params_digest=scenario.training.params_digest)

    assert [task.params for task in both] == [b"", b""]


def test_the_parameters_of_the_next_step_travel_again() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    (following,) = tasks(scenario.answer(b"a", task), b"a")

    assert following.step == 1
    assert following.params


def test_a_worker_is_counted_when_it_is_ready_and_not_before() -> None:
    scenario = Scenario(small_run())
    scenario.hello(b"a")

    assert tasks(scenario.seen, b"a") == []
    assert scenario.join(b"b") != []
    assert [fact.world_size for fact in told(scenario.seen)] == [1]


def test_what_a_worker_calls_itself_is_made_printable_and_short() -> None:
    scenario = Scenario(small_run())
    hello = Hello(2, "\x1b[31mred" + "x" * 100, "ho\nst", 11, "")
    (welcome,) = sent(scenario.receive(b"a", hello), b"a")
    scenario.welcomes[b"a"] = welcome

    (joined,) = told(scenario.ready(b"a"))

    assert joined.name == ("?[31mred" + "x" * 100)[:64]
    assert joined.host == "ho?st"


# ---- leases -------------------------------------------------------------------------------------


def test_the_branches_of_a_step_cover_its_shards() -> None:
    scenario = Scenario(small_run(shards=5))
    queue = scenario.join(b"a")
    given = list(queue)

    while queue and not any(task.step for task in given):
        given += (more := tasks(scenario.answer(b"a", queue.pop(0)), b"a"))
        queue += more

    covered = [shard for task in given if task.step == 0 for shard in range(task.lo, task.hi)]
    assert sorted(covered) == [0, 1, 2, 3, 4]


def test_a_second_worker_gets_leases_before_a_third_is_queued_for_the_first() -> None:
    scenario = Scenario(small_run())

    first, second = scenario.join(b"a"), scenario.join(b"b")

    assert len(first) == len(second) == 2
    assert {(t.lo, t.hi) for t in first}.isdisjoint((t.lo, t.hi) for t in second)


def test_nobody_holds_more_than_two_leases() -> None:
    scenario = Scenario(small_run())
    first, _ = scenario.join(b"a")

    following = tasks(scenario.answer(b"a", first), b"a")

    assert len(following) == 1
    assert len(tasks(scenario.ready(b"a"), b"a")) == 2


def test_ready_gives_the_leases_a_worker_held_back() -> None:
    scenario = Scenario(small_run())
    before = scenario.join(b"a")

    after = tasks(scenario.ready(b"a"), b"a")

    assert sorted((t.lo, t.hi) for t in after) == sorted((t.lo, t.hi) for t in before)
    assert {t.lease for t in after}.isdisjoint(t.lease for t in before)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (lambda s: s.handle(events.Departed(b"a")), "its connection ended"),
        (lambda s: s.receive(b"a", Bye(RUN, 4, s.welcomes[b"a"].sid, "x", -1)), "it said goodbye"),
        (lambda s: s.receive(b"a", HELLO), "it began anew"),
    ],
    ids=["disconnect", "bye", "new hello"],
)
def test_the_branches_of_a_lost_worker_go_to_another_at_once(ending, reason) -> None:  # type: ignore[no-untyped-def]
    scenario = Scenario(small_run(batch_size=3, shards=3))
    lost = scenario.join(b"a")
    (kept,) = scenario.join(b"b")

    effects = ending(scenario)

    assert told(effects) == [MemberLost("wa", reason, 2, 1)]
    (regranted,) = tasks(effects, b"b")
    assert (regranted.lo, regranted.hi) in {(t.lo, t.hi) for t in lost}
    assert regranted.lease not in {kept.lease, *(t.lease for t in lost)}


def test_a_worker_that_was_never_ready_leaves_without_a_word() -> None:
    scenario = Scenario(small_run())
    scenario.hello(b"a")

    assert scenario.handle(events.Departed(b"a")) == []


def test_the_departure_of_a_peer_that_said_nothing_is_nothing() -> None:
    assert Scenario(small_run()).handle(events.Departed(b"z")) == []


# ---- refusals -----------------------------------------------------------------------------------


def test_another_session_is_asked_who_it_is_and_nothing_else() -> None:
    scenario = Scenario(small_run())
    scenario.hello(b"a")

    assert scenario.receive(b"a", Ping(RUN, 4, 5, 1.0)) == [Send(b"a", Who(RUN, 4, 5))]


@pytest.mark.parametrize("run_gen", [(RUN, 3), (RUN, 5), ("00" * 16, 4)])
def test_a_gradient_of_another_generation_is_asked_who_it_is(run_gen: tuple[str, int]) -> None:
    scenario = Scenario(small_run())
    task, _ = scenario.join(b"a")
    run, gen = run_gen

    effects = scenario.answer(b"a", task, run=run, gen=gen)

    assert effects == [Send(b"a", Who(RUN, 4, task.sid))]


def test_a_session_cannot_be_used_from_another_peer() -> None:
    scenario = Scenario(small_run())
    sid = scenario.hello(b"a").sid

    assert scenario.receive(b"z", Ping(RUN, 4, sid, 1.0)) == [Send(b"z", Who(RUN, 4, sid))]


def test_another_config_is_refused_for_good() -> None:
    scenario = Scenario(small_run())
    scenario.hello(b"a")

    effects = scenario.ready(b"a", config_hash="ab\ncd")

    (refuse,) = sent(effects, b"a")
    assert (refuse.code, refuse.permanent) == ("CONFIG", True)
    assert "got ab?cd" in refuse.text
    assert told(effects) == [PeerRefused("wa", refuse.text)]
    assert sent(scenario.receive(b"a", Ping(RUN, 4, 1, 1.0)), b"a") == [Who(RUN, 4, 1)]


def test_the_branches_of_a_refused_worker_go_to_another() -> None:
    """A worker that was ready and turns up with another config must not stop the run."""
    scenario = Scenario(small_run(batch_size=2, shards=2))
    scenario.join(b"a")

    scenario.ready(b"a", config_hash="another")

    assert len(scenario.join(b"b")) == 2


def test_another_version_is_refused_for_good() -> None:
    scenario = Scenario(small_run())

    effects = scenario.handle(events.StrangerArrived(b"a", "expected version 1, got 2"))

    assert effects == [
        Send(b"a", Refuse("VERSION", "expected version 1, got 2", True)),
        Tell(PeerRefused("a stranger", "expected version 1, got 2")),
    ]


def test_garbled_bytes_are_counted_and_told() -> None:
    scenario = Scenario(small_run())

    scenario.handle(events.Garbled(b"a", "expected 3 frames, got 1"))
    effects = scenario.handle(events.Garbled(b"b", "expected 3 frames, got 2"))

    assert effects == [Tell(MessageDropped("expected 3 frames, got 2", 2))]


@pytest.mark.parametrize(
    "message",
    [Who(RUN, 4, 1), Cancel(RUN, 4, 1, 1), Welcome(2, RUN, 4, 1, "{}", 1.0)],
)
def test_a_message_for_a_worker_is_dropped(message: Who | Cancel | Welcome) -> None:
    scenario = Scenario(small_run())

    effects = scenario.receive(b"a", message)

    text = f"{type(message).__name__} is not for a coordinator"
    assert effects == [Tell(MessageDropped(text, 1))]


def test_a_worker_whose_message_was_damaged_is_asked_who_it_is_and_its_branches_are_free() -> None:
    """The damaged message may have been a gradient: its lease would never end."""
    scenario = Scenario(small_run(batch_size=2, shards=2))
    scenario.join(b"a")
    scenario.join(b"b")
    sid = scenario.welcomes[b"a"].sid

    effects = scenario.handle(events.Garbled(b"a", "expected the digest"))

    assert sent(effects, b"a") == [Who(RUN, 4, sid)]
    assert len(tasks(effects, b"b")) == 2


# ---- heartbeats ---------------------------------------------------------------------------------


def test_a_ping_is_answered_with_its_own_time() -> None:
    scenario = Scenario(small_run())
    sid = scenario.hello(b"a").sid

    assert scenario.receive(b"a", Ping(RUN, 4, sid, 7.5)) == [Send(b"a", Pong(RUN, 4, sid, 7.5))]


def test_each_member_is_pinged_once_each_heartbeat() -> None:
    scenario = Scenario(small_run())
    sid = scenario.hello(b"a", now=10.0).sid

    assert scenario.handle(events.Ticked(), 10.9) == []
    assert scenario.handle(events.Ticked(), 11.0) == [Send(b"a", Ping(RUN, 4, sid, 11.0))]
    assert scenario.handle(events.Ticked(), 11.1) == []


@pytest.mark.parametrize("kind", [Pong, Progress])
def test_a_sign_of_life_needs_no_answer_and_keeps_a_member(kind: type) -> None:
    scenario = Scenario(small_run())
    scenario.join(b"a")
    sid = scenario.welcomes[b"a"].sid
    message = Pong(RUN, 4, sid, 0.0) if kind is Pong else Progress(RUN, 4, sid, 1, 1)

    assert scenario.receive(b"a", message, now=2.9) == []
    assert told(scenario.wait(5.8)) == []
    assert [fact.reason for fact in told(scenario.wait(6.0))] == ["it fell silent"]


@pytest.mark.parametrize(
    ("document_s", "limit_s"), [(0.01, 3.0), (0.3, 3.0), (0.5, 5.0), (9.0, 90.0)]
)
def test_a_silent_member_is_lost_after_its_limit(document_s: float, limit_s: float) -> None:
    scenario = Scenario(small_run())
    scenario.join(b"a", document_s=document_s)

    assert told(scenario.wait(limit_s)) == []
    assert told(scenario.wait(limit_s + 0.001)) == [MemberLost("wa", "it fell silent", 2, 0)]


def test_a_member_that_proves_slower_than_it_said_gets_more_time() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")

    scenario.answer(b"a", task, compute_s=6.0)  # six documents

    assert told(scenario.wait(9.9)) == []
    assert len(told(scenario.wait(10.1))) == 1


def test_a_member_that_prepares_has_two_minutes() -> None:
    scenario = Scenario(small_run())
    sid = scenario.hello(b"a").sid

    scenario.wait(119.0)
    assert sent(scenario.receive(b"a", Ping(RUN, 4, sid, 1.0), 119.5), b"a") == [
        Pong(RUN, 4, sid, 1.0)
    ]


def test_a_ready_message_of_an_unknown_session_joins_nobody() -> None:
    scenario = Scenario(small_run())

    effects = scenario.receive(b"a", Ready(RUN, 4, 9, work_of(scenario.run).digest, "", "", 0.1))

    assert effects == [Send(b"a", Who(RUN, 4, 9))]
