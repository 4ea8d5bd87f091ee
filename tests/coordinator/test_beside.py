"""Work beside the loop: one answer for each job, in order, and no error is lost."""

from collections.abc import Callable
from threading import Event, get_ident

import pytest

from coordinator.beside import Beside

pytestmark = pytest.mark.unit

PATIENCE_S = 10.0


def doubler() -> Callable[[int], int]:
    return lambda job: 2 * job


def ignore() -> None:
    pass


def test_each_job_is_answered_once_in_the_order_of_asking() -> None:
    with Beside(doubler, ignore) as beside:  # leaving it waits for the thread
        for job in (3, 1, 2):
            beside.ask(job)

    assert [*beside.answers(), *beside.answers()] == [6, 2, 4]


def test_without_a_job_there_is_no_answer_and_nothing_to_wait_for() -> None:
    with Beside(doubler, ignore) as beside:
        assert list(beside.answers()) == []


def test_the_loop_is_woken_once_there_is_an_answer() -> None:
    has_answer = Event()
    with Beside(doubler, has_answer.set) as beside:
        beside.ask(4)

        assert has_answer.wait(PATIENCE_S)
        assert list(beside.answers()) == [8]


def test_the_loop_does_not_wait_for_a_job() -> None:
    may_end = Event()
    with Beside(lambda: lambda _: may_end.wait(PATIENCE_S), ignore) as beside:
        beside.ask(1)

        assert list(beside.answers()) == []
        may_end.set()
    assert list(beside.answers()) == [True]


def test_what_does_the_jobs_is_made_once_in_the_thread() -> None:
    """To make an engine may compile, which takes seconds."""
    makers: list[int] = []

    def make() -> Callable[[int], int]:
        makers.append(get_ident())
        return lambda job: job

    with Beside(make, ignore) as beside:
        assert makers == []
        beside.ask(1)
        beside.ask(2)

    assert len(makers) == 1
    assert makers != [get_ident()]


@pytest.mark.parametrize("where", ["making", "working"])
def test_what_goes_wrong_in_the_thread_is_raised_in_the_loop(where: str) -> None:
    """An error that stays in the thread would leave the coordinator waiting for ever."""

    def fail(*_: int) -> int:
        raise ArithmeticError(where)

    def make() -> Callable[[int], int]:
        return fail if where == "working" else lambda job: fail(job)

    with Beside(fail if where == "making" else make, ignore) as beside:
        beside.ask(1)
    with pytest.raises(ArithmeticError, match=where):
        list(beside.answers())
