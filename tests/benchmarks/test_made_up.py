"""Made-up messages travel as real ones do."""

import pytest

from benchmarks.made_up import carrying, made_up
from wire.codec import decode, encode
from wire.digest import params_digest
from wire.messages import Grad, Message, Ping, Pong, Task

pytestmark = pytest.mark.unit

BYTES = bytes(range(200))
DIGEST = params_digest(BYTES)


@pytest.mark.parametrize(
    "message",
    [
        *(made_up(Ping), made_up(Pong), made_up(Grad, payload=BYTES)),
        carrying(Task, BYTES, params_digest=DIGEST),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_made_up_message_is_one(message: Message) -> None:
    assert decode(encode(message)) == message


def test_what_is_known_stands_in_the_message() -> None:
    grad = made_up(Grad, step=7, payload=BYTES)

    assert (grad.step, grad.payload, grad.loss_sum) == (7, BYTES, 0.0)


def test_bytes_are_carried_behind_the_header() -> None:
    frames = encode(carrying(Task, BYTES, params_digest=DIGEST))

    assert frames[-1] == BYTES
