"""Evaluating beside the loop: one answer for each question, and no error is lost."""

from dataclasses import replace

import pytest

from coordinator.events import Evaluated
from coordinator.service import Evaluator
from engine.eager import Eager
from engine.engines import engine_of
from engine.evaluate import held_out_loss
from tests.coordinator.scenario import small_run

pytestmark = pytest.mark.unit

RUN = small_run(held_out=0.5, engine="eager")
LOSS = held_out_loss(Eager(RUN.model), RUN.params, RUN.held_out)


def test_an_answer_is_the_held_out_loss_of_the_asked_parameters_and_is_given_once() -> None:
    evaluator = Evaluator(RUN, engine_of)
    with evaluator:  # leaving it waits for the thread
        evaluator.ask(5, RUN.params)

    assert evaluator.answer() == Evaluated(5, LOSS)
    assert evaluator.answer() is None


def test_one_step_after_the_other_can_be_asked_for() -> None:
    evaluator = Evaluator(RUN, engine_of)
    for step in (0, 2):
        with evaluator:
            evaluator.ask(step, RUN.params)
        assert evaluator.answer() == Evaluated(step, LOSS)


def test_without_a_question_there_is_no_answer_and_nothing_to_wait_for() -> None:
    with Evaluator(RUN, engine_of) as evaluator:
        assert evaluator.answer() is None


def test_what_goes_wrong_in_the_thread_is_raised_in_the_loop() -> None:
    """An error that stays in the thread would leave the coordinator waiting for ever."""
    evaluator = Evaluator(replace(RUN, held_out=[]), engine_of)
    with evaluator:
        evaluator.ask(5, RUN.params)

    with pytest.raises(AssertionError, match="something held out"):
        evaluator.answer()


def test_two_evaluations_at_once_are_our_mistake() -> None:
    with Evaluator(RUN, engine_of) as evaluator:
        evaluator.ask(1, RUN.params)
        with pytest.raises(AssertionError, match="two evaluations at once"):
            evaluator.ask(2, RUN.params)
