"""The status door over real sockets: a question, its answer, and nothing for anybody else."""

from collections.abc import Iterator

import pytest
import zmq

from coordinator.errors import StatusNotLocal
from coordinator.status_door import (
    FRAME_BYTES_MAX,
    REQUESTS_PER_TURN,
    STATUS,
    TIMELINE,
    StatusDoor,
)
from tests.integration.callers import Callers, ZmqSocket

pytestmark = pytest.mark.integration

ANSWER = b'{"step":118}'
OTHER = b'{"steps":[]}'


@pytest.fixture
def door() -> Iterator[StatusDoor]:
    with StatusDoor() as door:
        yield door


@pytest.fixture
def callers(door: StatusDoor) -> Iterator[Callers]:
    with Callers(door.address) as callers:
        yield callers


def answered(door: StatusDoor, caller: ZmqSocket) -> list[bytes]:
    """Turn the coordinator's loop until the caller has its answer."""
    for _ in range(500):
        door.answer({STATUS: lambda: ANSWER, TIMELINE: lambda: OTHER})
        if caller.poll(10):
            return caller.recv_multipart()
    pytest.fail("the door said nothing")


def test_a_question_gets_the_answer(door: StatusDoor, callers: Callers) -> None:
    caller = callers.dealer()
    caller.send(b"STATUS")

    assert answered(door, caller) == [ANSWER]


def test_each_question_has_its_own_answer(door: StatusDoor, callers: Callers) -> None:
    caller = callers.dealer()
    caller.send(b"TIMELINE")

    assert answered(door, caller) == [OTHER]


def test_a_req_socket_is_answered_too(door: StatusDoor, callers: Callers) -> None:
    """Six lines of pyzmq are enough for a health check."""
    caller = callers.req()
    caller.send(b"STATUS")

    assert answered(door, caller) == [ANSWER]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"status"],
        [b"STATUS", b""],
        [b"", b"", b"STATUS"],
        [b"STATUS"] * 50,
        [b"STATUS" + bytes(FRAME_BYTES_MAX)],
    ],
    ids=["empty", "lower case", "too late", "three frames", "fifty frames", "huge"],
)
def test_anything_else_is_dropped_and_the_next_question_is_answered(
    door: StatusDoor, callers: Callers, frames: list[bytes]
) -> None:
    stranger, caller = callers.dealer(), callers.dealer()
    stranger.send_multipart(frames)
    caller.send(b"STATUS")

    assert answered(door, caller) == [ANSWER]
    assert not stranger.poll(20)


def test_a_turn_makes_one_answer_for_all_and_ends_even_if_questions_do_not(
    door: StatusDoor, callers: Callers
) -> None:
    """Whoever asks in a loop must not keep a coordinator from its workers."""
    greedy = callers.dealer()
    for _ in range(10 * REQUESTS_PER_TURN):
        greedy.send(b"STATUS")
    made: list[bytes] = []

    def make() -> bytes:
        made.append(ANSWER)
        return ANSWER

    turns = 0
    while greedy.poll(50) == 0 and turns < 100:
        door.answer({STATUS: make})
        turns += 1
    for _ in range(100):
        door.answer({STATUS: make})
    answers = 0
    while greedy.poll(50):
        greedy.recv()
        answers += 1

    assert 0 < answers <= 10 * REQUESTS_PER_TURN
    assert len(made) <= turns + 100
    assert answers <= REQUESTS_PER_TURN * len(made)


def test_without_a_question_no_answer_is_made(door: StatusDoor) -> None:
    door.answer({STATUS: lambda: pytest.fail("nobody has asked")})


def test_a_caller_that_never_reads_blocks_nobody(door: StatusDoor, callers: Callers) -> None:
    deaf, caller = callers.dealer(), callers.dealer()
    deaf.set(zmq.RCVHWM, 1)
    for _ in range(500):
        deaf.send(b"STATUS")
    for _ in range(50):
        door.answer({STATUS: lambda: bytes(100_000)})
    caller.send(b"STATUS")

    assert answered(door, caller) == [ANSWER]


def test_a_door_that_others_could_reach_is_refused() -> None:
    with pytest.raises(StatusNotLocal, match="expected an address of this machine alone"):
        StatusDoor("tcp://0.0.0.0:0")


def test_the_door_is_on_this_machine_and_says_where() -> None:
    with StatusDoor() as door:
        assert door.address.startswith("tcp://127.0.0.1:")
        assert not door.address.endswith(":0")
