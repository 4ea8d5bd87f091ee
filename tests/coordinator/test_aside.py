"""What the coordinator computes itself: the numbers of a worker, and of a single process."""

from dataclasses import replace

import numpy as np
import pytest

from coordinator.aside import computer
from coordinator.effects import Evaluate, Probe, Recompute
from coordinator.events import Evaluated, Probed, Recomputed
from engine.branch import sum_branch
from engine.eager import Eager
from engine.evaluate import held_out_loss
from tests.coordinator.scenario import fingerprint_of, small_run

pytestmark = pytest.mark.unit

RUN = small_run(held_out=0.5, engine="eager")
COMPUTE = computer(RUN, lambda: Eager(RUN.model))
BRANCH = (1, 3)
DOCUMENTS = RUN.documents[:2]


def test_a_step_is_evaluated_on_what_is_held_out() -> None:
    loss = held_out_loss(Eager(RUN.model), RUN.params, RUN.held_out)

    assert COMPUTE(Evaluate(5, RUN.params)) == Evaluated(5, loss)


def test_a_fingerprint_is_that_of_a_worker() -> None:
    assert COMPUTE(Probe()) == Probed(fingerprint_of(RUN))


def test_a_disputed_branch_is_summed_as_a_worker_sums_it() -> None:
    work = RUN.work
    assert (work.batch_size, work.shards) == (6, 5)
    expected = sum_branch(Eager(RUN.model), work, RUN.params, DOCUMENTS, BRANCH)

    answer = COMPUTE(Recompute(3, BRANCH, RUN.params, DOCUMENTS))

    assert isinstance(answer, Recomputed)
    assert answer.dispute == 3
    assert answer.truth.loss == expected.loss
    assert np.array_equal(answer.truth.grad, np.frombuffer(expected.grad))


def test_nothing_is_evaluated_on_nothing() -> None:
    with pytest.raises(AssertionError, match="something held out"):
        computer(replace(RUN, held_out=[]), lambda: Eager(RUN.model))(Evaluate(5, RUN.params))
