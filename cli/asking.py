"""One question to a process of ours that is running, and its answer."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.errors import RoleFailed
from wire.keys import ClientKey
from wire.transport import Connection

STIR_S = 0.05  # how long a wait may last before the clock is looked at


@dataclass(frozen=True, slots=True)
class Door:
    """Where a process answers, and what people are told if it does not.

    Attributes:
        who: is expected there, with its article.
        where: what people know it by.
        remedy: what they can do if nobody is there.
        connect_s: how long it may take to be there.
        answer_s: and to answer.
        is_patient: whoever is not there yet may still come.
        key: that opens it; None opens a plain one.
    """

    address: str
    who: str
    where: str
    remedy: str
    connect_s: float
    answer_s: float
    is_patient: bool = True
    key: ClientKey | None = None


def ask(door: Door, question: Sequence[bytes]) -> list[bytes]:
    """Send the frames of a question, and give those of the answer.

    Raises:
        RoleFailed: nobody is there, or nobody answers in time.
    """
    return next(answers(door, question))


def answers(door: Door, question: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Send the frames of a question, and give those of each answer, as long as somebody asks.

    Raises:
        RoleFailed: nobody is there, or nobody answers in time.
    """
    connection = Connection(door.address, door.key)
    try:
        _reach(connection, door)
        connection.send(question)
        while True:
            yield _hear(connection, door)
    finally:
        connection.close()


def _reach(connection: Connection, door: Door) -> None:
    deadline_s = time.monotonic() + door.connect_s
    reason = ""
    while not connection.is_up:
        if time.monotonic() > deadline_s:
            raise RoleFailed(f"expected {door.who}, got none{reason} — {door.where}; {door.remedy}")
        connection.wait(STIR_S)
        for change in connection.changes():
            reason = f" ({change.reason})"
            if not door.is_patient and not change.is_up:
                deadline_s = 0.0


def _hear(connection: Connection, door: Door) -> list[bytes]:
    deadline_s = time.monotonic() + door.answer_s
    while True:
        connection.changes()  # first: what was said before the connection ended has come by then
        frames = connection.receive()
        if frames is not None:
            return frames
        if not connection.is_up or time.monotonic() > deadline_s:
            raise RoleFailed(
                f"expected an answer within {door.answer_s:g} s, got none — {door.where};"
                f" check that {door.address} is {door.who}"
            )
        connection.wait(STIR_S)
