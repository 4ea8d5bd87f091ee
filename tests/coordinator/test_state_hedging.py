"""Stragglers: their branches are computed twice at most, and counted once."""

import pytest

from coordinator import events
from coordinator.effects import Finish, Recompute, Send
from coordinator.facts import BranchHedged, MemberLost
from coordinator.settings import Settings
from engine.params import to_bytes
from tests.coordinator.scenario import (
    RUN,
    SELDOM,
    Scenario,
    final_save,
    only,
    reference,
    result,
    small_run,
    tasks,
    told,
)
from wire.messages import Bye, Cancel, Ping, Pong, Progress, Task

pytestmark = pytest.mark.unit

TWO = small_run(steps=2, batch_size=2, shards=2)


def one_each() -> tuple[Scenario, Task, Task]:
    """Two branches, two workers, a lease for each."""
    scenario = Scenario(TWO)
    mine, other = scenario.join(b"a")
    scenario.join(b"b")
    freed = tasks(scenario.ready(b"a"), b"a")  # gives both back, and takes one
    (of_b,) = [t for t in tasks(scenario.seen, b"b") if t.lease > other.lease]
    assert mine.lease < of_b.lease
    (of_a,) = freed
    return scenario, of_a, of_b


def test_a_branch_that_is_out_for_twice_the_median_is_given_to_an_idle_worker_as_well() -> None:
    scenario, of_a, of_b = one_each()
    scenario.answer(b"a", of_a, 0.1)

    assert only(Send, scenario.handle(events.Ticked(), 0.2)) == []
    effects = scenario.handle(events.Ticked(), 0.21)

    (copy,) = tasks(effects, b"a")
    assert (copy.lo, copy.hi) == (of_b.lo, of_b.hi)
    assert copy.lease != of_b.lease
    assert told(effects) == [BranchHedged("wa", 1, of_b.lo, of_b.hi, pytest.approx(0.21), 1)]
    assert tasks(scenario.handle(events.Ticked(), 2.0), b"a") == []


def test_nothing_is_late_within_a_twentieth_of_a_second() -> None:
    """Steps of a millisecond would otherwise be computed twice whenever a machine hiccups."""
    scenario, of_a, _ = one_each()
    scenario.answer(b"a", of_a, 0.001)

    assert tasks(scenario.handle(events.Ticked(), 0.049), b"a") == []
    assert len(tasks(scenario.handle(events.Ticked(), 0.051), b"a")) == 1


def test_the_first_copy_that_comes_counts_and_the_other_is_cancelled() -> None:
    scenario, of_a, of_b = one_each()
    scenario.answer(b"a", of_a, 0.1)
    (copy,) = tasks(scenario.handle(events.Ticked(), 0.3), b"a")

    effects = scenario.answer(b"a", copy, 0.4)

    assert Send(b"b", Cancel(RUN, 4, of_b.sid, of_b.lease)) in effects
    assert scenario.training.step == 1
    late = scenario.answer(b"b", of_b, 0.5)
    assert late[0] == Send(b"b", result(of_b, "STALE"))
    assert only(Recompute, late) == []  # it agrees


def test_a_straggler_that_comes_first_after_all_cancels_its_copy() -> None:
    scenario, of_a, of_b = one_each()
    scenario.answer(b"a", of_a, 0.1)
    (copy,) = tasks(scenario.handle(events.Ticked(), 0.3), b"a")

    effects = scenario.answer(b"b", of_b, 0.4)

    assert Send(b"a", Cancel(RUN, 4, copy.sid, copy.lease)) in effects
    assert scenario.training.step == 1


def test_a_run_whose_every_branch_is_hedged_has_the_bits_of_the_reference() -> None:
    scenario, of_a, of_b = one_each()
    scenario.answer(b"a", of_a, 0.1)
    queue = tasks(scenario.handle(events.Ticked(), 0.3), b"a")

    scenario.work(b"a", queue)
    scenario.answer(b"b", of_b, 0.4)
    scenario.work(b"b", [task for task in tasks(scenario.seen, b"b") if task.step == 1])

    assert to_bytes(final_save(scenario).params) == reference(TWO)[-1][1]


def test_a_straggler_gets_no_more_work_before_it_says_something() -> None:
    """A stopped worker would otherwise hold up every step until it is called silent."""
    scenario, of_a, of_b = one_each()
    scenario.answer(b"a", of_a, 0.1)
    (copy,) = tasks(scenario.handle(events.Ticked(), 0.3), b"a")
    before = len(scenario.seen)

    scenario.answer(b"a", copy, 0.4)
    assert tasks(scenario.seen[before:], b"b") == []
    scenario.receive(b"b", Ping(RUN, 4, of_b.sid, 0.0), 0.5)
    of_next, _ = tasks(scenario.seen[before:], b"a")
    scenario.ready(b"a")  # gives both back

    assert [task.step for task in tasks(scenario.seen[before:], b"b")] == [1]
    assert of_next.step == 1


def test_a_worker_that_begins_anew_again_and_again_is_late_all_the_same() -> None:
    """Each READY gives its leases back, and gets the branch anew."""
    scenario, _of_a, of_b = one_each()
    scenario.answer(b"b", of_b, 0.1)

    hedges = []
    for tick in range(1, 20):
        scenario.ready(b"a", 0.1 + tick * 0.04)
        hedges += tasks(scenario.handle(events.Ticked(), 0.1 + tick * 0.04), b"b")

    assert len(hedges) > 0


# ---- workers that only talk, and branches that kill ----------------------------------------------


def test_a_member_that_answers_pings_and_computes_nothing_is_lost_after_thirty_seconds() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    for now in range(1, 31):
        scenario.wait(float(now))
        scenario.receive(b"a", Pong(RUN, 4, task.sid, 0.0), float(now))

    assert told(scenario.wait(30.0)) == []
    assert told(scenario.wait(30.5)) == [MemberLost("wa", "it makes no progress", 1, 0)]


def test_a_document_more_is_progress() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    for now in range(1, 100):
        scenario.wait(float(now))
        scenario.receive(b"a", Progress(RUN, 4, task.sid, task.lease, now), float(now))

    assert [fact for fact in told(scenario.seen) if isinstance(fact, MemberLost)] == []


def lose(scenario: Scenario, peer: bytes) -> None:
    scenario.join(peer)
    scenario.handle(events.Departed(peer))


def test_three_workers_lost_over_one_branch_stop_the_run_and_name_its_documents() -> None:
    """A document that kills whoever computes it must not be tried for ever."""
    scenario = Scenario(small_run(shards=1))

    lose(scenario, b"a")
    lose(scenario, b"b")
    assert only(Finish, scenario.seen) == []
    lose(scenario, b"c")

    (finish,) = only(Finish, scenario.seen)
    assert finish.failure is not None
    assert "got 3 workers lost over it: wa, wb, wc — its documents are " in finish.failure
    assert all(repr(text) in finish.failure for text in scenario.training.texts((0, 1)))


def test_a_worker_that_comes_back_was_not_killed() -> None:
    """Three cut connections are the network's doing."""
    scenario = Scenario(small_run(shards=1))

    for _ in range(9):
        lose(scenario, b"a")
        lose(scenario, b"b")

    assert only(Finish, scenario.seen) == []


def test_a_branch_that_only_waited_in_a_queue_has_killed_nobody() -> None:
    scenario = Scenario(TWO)
    computing: dict[tuple[int, int], list[str]] = {}
    for peer in (b"a", b"b", b"c", b"d", b"e", b"f"):
        if only(Finish, scenario.seen):
            break
        first, _queued = scenario.join(peer)
        computing.setdefault((first.lo, first.hi), []).append(f"w{peer.decode()}")
        scenario.handle(events.Departed(peer))

    (finish,) = only(Finish, scenario.seen)
    assert finish.failure is not None
    branch, names = next(item for item in computing.items() if len(item[1]) == 3)
    assert f"branch {branch} of step 1" in finish.failure
    assert f"lost over it: {', '.join(names)} — " in finish.failure


def test_workers_that_fall_silent_together_are_not_killed_by_a_branch() -> None:
    """A switch, or a host with all workers but one: what the first held goes to those that live."""
    scenario = Scenario(TWO)
    scenario.join(b"a")
    for peer in (b"b", b"c", b"d"):
        scenario.join(peer)
    sid = scenario.welcomes[b"d"].sid

    effects = scenario.wait(2.5)
    scenario.receive(b"d", Ping(RUN, 4, sid, 0.0), 2.5)
    effects += scenario.wait(3.5)

    lost = [fact.name for fact in told(effects) if isinstance(fact, MemberLost)]
    assert lost == ["wa", "wb", "wc"]
    assert len(tasks(effects, b"d")) == 2
    assert only(Finish, scenario.seen) == []


def test_a_worker_that_was_silent_before_it_got_a_branch_was_not_killed_by_it() -> None:
    scenario = Scenario(small_run(shards=1))
    for peer, slowness in ((b"a", 0.01), (b"b", 0.31), (b"c", 0.32)):
        scenario.join(peer, document_s=slowness)  # lost after 3.0, 3.1 and 3.2 s

    effects = scenario.wait(5.0)

    lost = [fact for fact in told(effects) if isinstance(fact, MemberLost)]
    assert [fact.branches_freed for fact in lost] == [1, 1, 1]
    assert only(Finish, scenario.seen) == []


def test_the_limit_can_be_raised() -> None:
    scenario = Scenario(small_run(shards=1), settings=Settings(SELDOM, losses_max=4))

    for peer in (b"a", b"b", b"c"):
        lose(scenario, peer)

    assert only(Finish, scenario.seen) == []


def test_workers_that_say_goodbye_are_not_lost_over_a_branch() -> None:
    scenario = Scenario(small_run(shards=1))

    for peer in (b"a", b"b", b"c", b"d"):
        (task,) = scenario.join(peer)
        scenario.receive(peer, Bye(RUN, 4, task.sid, "stopping", -1))

    assert only(Finish, scenario.seen) == []
