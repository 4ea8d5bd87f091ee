"""How finely a step is cut: as few branches as balance allows, since each costs a message."""

import pytest

from tests.coordinator.scenario import Scenario, small_run, tasks
from wire.messages import Task

pytestmark = pytest.mark.unit

EIGHT = {"batch_size": 8, "shards": 8}


def second_step(compute_s: dict[bytes, float]) -> list[Task]:
    """The tasks of the second step, after workers have computed so long for each document."""
    scenario = Scenario(small_run(steps=3, **EIGHT))
    first = [(peer, task) for peer in compute_s for task in scenario.join(peer)]
    given = []
    while first:
        peer, task = first.pop(0)
        seconds = compute_s[peer] * task.num_documents
        for other in compute_s:
            effects = scenario.answer(peer, task, compute_s=seconds) if other == peer else []
            first += [(peer, more) for more in tasks(effects, peer) if more.step == 0]
            given += [more for more in tasks(effects, other) if more.step == 1]
        if scenario.training.step == 1:
            break
    return [send.message for send in scenario.seen if getattr(send, "message", None) is not None
            and isinstance(send.message, Task) and send.message.step == 1]  # fmt: skip


def test_before_anything_is_known_there_are_four_branches_for_each_worker() -> None:
    scenario = Scenario(small_run(**EIGHT))
    scenario.join(b"a")

    assert scenario.training.board.counts.total == 4


def test_fast_workers_of_one_pace_get_one_branch_each() -> None:
    given = second_step({b"a": 1e-5, b"b": 1e-5})

    assert sorted((task.lo, task.hi) for task in given) == [(0, 4), (4, 8)]


def test_work_that_takes_long_is_cut_finely() -> None:
    """Then a message costs little, and a lost worker's branch should not be large."""
    given = second_step({b"a": 0.1, b"b": 0.1})

    assert {task.hi - task.lo for task in given} == {1}


def test_workers_of_unlike_pace_share_a_step_more_finely() -> None:
    """With one branch each, the step would wait for the slow one."""
    given = second_step({b"a": 1e-4, b"b": 8e-4})

    assert max(task.hi - task.lo for task in given) < 4
