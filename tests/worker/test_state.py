"""The worker's side of the conversation: finding a coordinator, staying, leaving."""

import pytest

from tests.worker.session import (
    ADDRESS,
    DIGEST,
    DOCUMENTS,
    HELLO,
    PARAMS,
    RUN,
    SESSION,
    WELCOME,
    WORK,
    greeting,
    kinds,
    ready,
    receive,
    task,
    worker,
    working,
)
from wire.messages import (
    Bye,
    Cancel,
    Grad,
    Message,
    Ping,
    Pong,
    Refuse,
    Result,
    Task,
    Welcome,
    Who,
)
from wire.payload import join, pack
from worker import events
from worker.effects import Abandon, Connect, Exit, Prepare, Send, Tell

pytestmark = pytest.mark.unit

# ---- finding a coordinator ----------------------------------------------------------------------


def test_a_worker_begins_by_connecting() -> None:
    assert worker().start(0.0) == [Connect()]


def test_hello_follows_the_open_connection() -> None:
    state = worker()
    state.start(0.0)

    assert state.handle(events.Opened(), 0.0) == [Send(HELLO)]


def test_an_unsent_hello_is_said_again_at_the_next_tick() -> None:
    state = greeting()
    state.handle(events.Unsent(), 0.0)

    assert state.handle(events.Ticked(), 0.1) == [Send(HELLO)]
    assert state.handle(events.Ticked(), 0.2) == []


def test_a_search_without_answer_takes_a_new_socket_and_says_so_once() -> None:
    state = worker()
    state.start(0.0)

    assert state.handle(events.Ticked(), 2.0) == []
    first = state.handle(events.Ticked(), 2.1)
    second = state.handle(events.Ticked(), 100.0)

    assert kinds(first) == [Tell, Connect]
    assert ADDRESS in first[0].text
    assert second == [Connect()]


def test_searches_take_longer_and_longer_up_to_a_limit() -> None:
    state = worker()
    state.start(0.0)
    now, pauses_s, since_s = 0.0, [], 0.0

    while len(pauses_s) < 12:
        now += 0.25
        if Connect() in state.handle(events.Ticked(), now):
            pauses_s.append(now - since_s)
            since_s = now

    assert pauses_s[0] == 2.25
    assert pauses_s[0] < pauses_s[1] < pauses_s[2]
    assert max(pauses_s) <= 32.25
    assert min(pauses_s[8:]) >= 24.0
    assert len(set(pauses_s[8:])) > 1  # a flock that lost its coordinator does not return as one


def test_a_hello_without_answer_takes_a_new_socket() -> None:
    state = greeting()

    assert state.handle(events.Ticked(), 1.5) == []
    assert kinds(state.handle(events.Ticked(), 1.6)) == [Tell, Connect]


def test_a_lost_connection_takes_a_new_socket() -> None:
    assert greeting().handle(events.Closed(), 1.0) == [Connect()]


def test_a_connection_that_ends_while_searching_is_left_to_the_socket() -> None:
    state = worker()
    state.start(0.0)

    assert state.handle(events.Closed(), 0.5) == []


def test_a_worker_without_coordinator_leaves_after_its_patience() -> None:
    state = worker(max_idle_s=10.0)
    state.start(100.0)

    assert Exit not in kinds(state.handle(events.Ticked(), 110.0))
    (leave,) = state.handle(events.Ticked(), 110.1)

    assert leave.failure == (
        f"expected a coordinator within 10 s, got none — {ADDRESS}; start it, or check the address"
    )
    assert not leave.is_permanent


def test_patience_begins_anew_when_a_session_ends() -> None:
    state = working(now=0.0, max_idle_s=10.0)
    state.handle(events.Closed(), 50.0)

    assert Exit not in kinds(state.handle(events.Ticked(), 60.0))
    assert kinds(state.handle(events.Ticked(), 60.1)) == [Exit]


def test_a_worker_without_limit_waits_for_ever() -> None:
    state = worker(max_idle_s=None)
    state.start(0.0)

    assert Exit not in kinds(state.handle(events.Ticked(), 1e9))


# ---- joining ------------------------------------------------------------------------------------


def test_welcome_is_followed_by_preparation() -> None:
    effects = receive(greeting(), WELCOME)

    assert effects == [Tell(f"joined run 5f5f5f5f at {ADDRESS}"), Prepare(WORK)]


def test_ready_follows_preparation_with_what_was_understood_and_measured() -> None:
    state = greeting()
    receive(state, WELCOME)

    assert state.handle(events.Prepared(0.25, "f1"), 5.0) == [ready()]


@pytest.mark.parametrize(
    "config", ["", "{}", "null", "[" * 9, WORK.to_json().replace('"n_head":1', '"n_head":2')]
)
def test_a_config_that_cannot_be_is_a_permanent_end(config: str) -> None:
    (leave,) = receive(greeting(), Welcome(2, *SESSION, config, 1.0))

    assert leave.is_permanent
    assert leave.failure


@pytest.mark.parametrize(("version", "heartbeat_s"), [(1, 1.0), (3, 1.0), (2, 0.0), (2, -1.0)])
def test_a_welcome_of_another_version_or_without_a_heartbeat_is_a_permanent_end(
    version: int, heartbeat_s: float
) -> None:
    (leave,) = receive(greeting(), Welcome(version, *SESSION, WORK.to_json(), heartbeat_s))

    assert leave.is_permanent
    assert "expected protocol version 2 and a heartbeat" in leave.failure


def test_a_second_welcome_is_ignored() -> None:
    assert receive(working(), WELCOME) == []


def test_a_permanent_refusal_is_the_end_and_says_why() -> None:
    state = greeting()

    assert receive(state, Refuse("VERSION", "too old", True)) == [Exit("refused: too old", True)]
    assert receive(state, WELCOME) == []


def test_a_refusal_for_now_is_told_and_hello_is_tried_again_later() -> None:
    state = greeting()

    assert receive(state, Refuse("BUSY", "later", False)) == [Tell("refused for now: later")]
    assert Connect() in state.handle(events.Ticked(), 3.1)


# ---- heartbeats and other times -----------------------------------------------------------------


def test_a_ping_is_answered_with_its_own_time() -> None:
    assert receive(working(), Ping(*SESSION, 2.5)) == [Send(Pong(*SESSION, 2.5))]


def test_the_coordinator_is_pinged_once_each_heartbeat() -> None:
    state = working(now=10.0)

    assert state.handle(events.Ticked(), 11.0) == [Send(Ping(*SESSION, 11.0))]
    assert state.handle(events.Ticked(), 11.9) == []
    assert kinds(state.handle(events.Ticked(), 12.0)) == [Ping]


def test_a_silent_coordinator_is_searched_for_with_a_new_socket() -> None:
    state = working(now=10.0)
    receive(state, task(1), now=11.0)

    assert Connect() not in state.handle(events.Ticked(), 14.0)
    assert kinds(state.handle(events.Ticked(), 14.1)) == [Tell, Abandon, Connect]


def test_any_word_of_the_coordinator_breaks_its_silence() -> None:
    state = working(now=10.0)
    receive(state, Pong(*SESSION, 1.0), now=12.0)

    assert Connect() not in state.handle(events.Ticked(), 15.0)


def test_preparation_is_not_the_coordinators_silence() -> None:
    state = greeting(now=0.0)
    receive(state, WELCOME, now=0.0)
    state.handle(events.Prepared(9.0, "f1"), 60.0)

    assert Connect() not in state.handle(events.Ticked(), 62.0)


STALE = [(RUN, 4, 8), (RUN, 3, 7), ("00" * 16, 4, 7)]


@pytest.mark.parametrize("session", STALE)
def test_messages_of_another_session_are_ignored(session: tuple[str, int, int]) -> None:
    state = working()
    receive(state, task(1))

    assert receive(state, Ping(*session, 1.0)) == []
    assert receive(state, Cancel(*session, 1)) == []
    assert receive(state, Bye(*session, "done", 3)) == []
    assert receive(state, Result(*session, 0, 0, 1, "STALE")) == []
    assert kinds(state.handle(events.BranchDone(1.5, b"", 0.5), 1.0)) == [Grad]


def test_a_task_of_another_session_is_not_computed() -> None:
    other = Task(RUN, 4, 8, 0, 0, 1, 1, DIGEST, 2, join([*map(pack, DOCUMENTS)]), PARAMS)

    assert receive(working(), other) == []


@pytest.mark.parametrize("message", [HELLO, Grad(*SESSION, 0, 0, 1, 1, "", 0.0, 0.0, 0.0, b"")])
def test_a_message_for_a_coordinator_is_ignored(message: Message) -> None:
    assert receive(working(), message) == []


def test_who_are_you_is_answered_by_hello_and_ends_the_session() -> None:
    state = working()
    receive(state, task(1))

    assert receive(state, Who(*SESSION)) == [Abandon(), Send(HELLO)]
    assert receive(state, task(2)) == []


# ---- leaving ------------------------------------------------------------------------------------


def test_a_run_that_is_done_ends_the_worker_well() -> None:
    state = working()
    receive(state, task(1))

    effects = receive(state, Bye(*SESSION, "done", 3))

    assert effects == [Tell("the run is done"), Abandon(), Exit(None)]
    assert state.handle(events.BranchDone(1.5, b"", 0.5), 1.0) == []


def test_a_coordinator_that_stops_is_searched_for() -> None:
    effects = receive(working(), Bye(*SESSION, "stopping", 3))

    assert kinds(effects) == [Tell, Connect]


def test_being_asked_to_stop_drops_the_work_says_goodbye_and_leaves() -> None:
    state = working()
    receive(state, task(1))

    effects = state.handle(events.StopAsked(), 1.0)

    assert effects == [Abandon(), Send(Bye(*SESSION, "stopping", -1)), Exit(None)]


def test_being_asked_to_stop_without_a_session_just_leaves() -> None:
    assert greeting().handle(events.StopAsked(), 1.0) == [Exit(None)]


def test_nothing_happens_after_the_end() -> None:
    state = working()
    state.handle(events.StopAsked(), 1.0)

    assert receive(state, Ping(*SESSION, 1.0)) == []
    assert state.handle(events.Ticked(), 100.0) == []
    assert state.handle(events.StopAsked(), 100.0) == []
