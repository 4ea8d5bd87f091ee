"""How a process learns that it should leave."""

import os
import signal
from collections.abc import Iterator

import pytest

from cli.stopping import StopFlag

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nobody_has_asked_yet() -> None:
    stop = StopFlag()

    assert not stop()
    assert stop.exit_code == 0


def test_a_terminated_process_stops_and_ends_well() -> None:
    stop = StopFlag()

    with stop:
        signal.raise_signal(signal.SIGTERM)

    assert stop()
    assert stop.exit_code == 0
    assert not stop.is_urgent


def test_ctrl_c_stops_and_is_seen_in_the_exit_code() -> None:
    stop = StopFlag()

    with stop:
        signal.raise_signal(signal.SIGINT)

    assert stop()
    assert stop.exit_code == 130


def test_being_asked_twice_is_urgent() -> None:
    stop = StopFlag()

    with stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    assert stop.is_urgent
    assert stop.exit_code == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_a_process_at_once_while_nobody_listens(number: int, code: int) -> None:
    stop = StopFlag()
    with stop:
        pass

    with pytest.raises(SystemExit) as ending:
        signal.raise_signal(number)

    assert ending.value.code == code


def test_a_process_stays_as_long_as_its_parent() -> None:
    assert not StopFlag(parent=os.getppid())()


def test_a_process_whose_parent_is_another_now_stops() -> None:
    assert StopFlag(parent=os.getpid())()
