"""Computing beside the loop: one answer for each question, in order, and no error is lost."""

from dataclasses import replace

import numpy as np
import pytest

from coordinator.aside import Aside, Job
from coordinator.effects import Evaluate, Probe, Recompute
from coordinator.events import Evaluated, Probed, Recomputed
from engine.branch import sum_branch
from engine.eager import Eager
from engine.engines import engine_of
from engine.evaluate import held_out_loss
from engine.run import Run
from tests.coordinator.scenario import fingerprint_of, small_run

pytestmark = pytest.mark.unit

RUN = small_run(held_out=0.5, engine="eager")
LOSS = held_out_loss(Eager(RUN.model), RUN.params, RUN.held_out)
BRANCH = (1, 3)
DOCUMENTS = RUN.documents[:2]


def answers(run: Run, *jobs: Job) -> list[object]:
    aside = Aside(run, engine_of)
    with aside:  # leaving it waits for the thread
        for job in jobs:
            aside.ask(job)
    return [*aside.answers(), *aside.answers()]


def test_each_question_is_answered_once_in_the_order_of_asking() -> None:
    jobs = [Evaluate(5, RUN.params), Probe(), Evaluate(7, RUN.params)]

    assert answers(RUN, *jobs) == [
        Evaluated(5, LOSS),
        Probed(fingerprint_of(RUN)),
        Evaluated(7, LOSS),
    ]


def test_a_disputed_branch_is_summed_as_a_worker_sums_it() -> None:
    work = RUN.work
    assert (work.batch_size, work.shards) == (6, 5)
    expected = sum_branch(Eager(RUN.model), work, RUN.params, DOCUMENTS, BRANCH)

    [answer] = answers(RUN, Recompute(3, BRANCH, RUN.params, DOCUMENTS))

    assert isinstance(answer, Recomputed)
    assert answer.dispute == 3
    assert answer.truth.loss == expected.loss
    assert np.array_equal(answer.truth.grad, np.frombuffer(expected.grad))


def test_without_a_question_there_is_no_answer_and_nothing_to_wait_for() -> None:
    assert answers(RUN) == []


def test_what_goes_wrong_in_the_thread_is_raised_in_the_loop() -> None:
    """An error that stays in the thread would leave the coordinator waiting for ever."""
    with pytest.raises(AssertionError, match="something held out"):
        answers(replace(RUN, held_out=[]), Evaluate(5, RUN.params))
