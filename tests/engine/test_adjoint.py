"""Who writes a gradient first stores it, the others add, and what nobody writes is cleared."""

import pytest

from engine.adjoint import Backstep, plan_backward
from engine.program import Instruction, Matmul, Program, verify
from tests.engine.interpreter import Interpreter

pytestmark = pytest.mark.unit

SPREAD = Instruction("spread", 0, 2, ((0, 1),))


def program_of(*instructions: Instruction | Matmul, terms: tuple[int, ...]) -> Program:
    rows = instructions[-1].first + instructions[-1].count
    program = Program((SPREAD, *instructions), terms, rows, 2)
    verify(program)
    return program


def test_the_first_writer_stores_and_the_next_adds() -> None:
    program = program_of(
        Instruction("exp", 2, 1, ((0,),)),
        Instruction("mul", 3, 1, ((0,), (1,))),
        Instruction("add", 4, 1, ((2,), (3,))),
        terms=(4,),
    )

    assert plan_backward(program) == (
        Backstep(-1, (True,), ()),
        Backstep(3, (True, True), ()),
        Backstep(2, (True, True), ()),
        Backstep(1, (False,), ()),
        Backstep(0, (), ()),
    )


def test_rows_that_one_instruction_writes_twice_are_cleared_before() -> None:
    program = program_of(Instruction("sum", 2, 2, ((0, 0, 1),), (0, 2, 3)), terms=(2, 3))

    assert plan_backward(program)[1] == Backstep(1, (False,), (0, 1))


def test_operands_that_meet_in_a_row_add_to_a_cleared_one() -> None:
    program = program_of(Instruction("mul", 2, 1, ((0,), (0,))), terms=(2,))

    assert plan_backward(program)[1] == Backstep(1, (False, False), (0,))


def test_what_only_a_part_of_has_been_written_is_cleared_there() -> None:
    program = program_of(
        Instruction("exp", 2, 2, ((0, 1),)),
        Instruction("log", 4, 1, ((0,),)),
        Instruction("sum", 5, 1, ((2, 3, 4),), (0, 3)),
        terms=(5,),
    )

    assert plan_backward(program)[2:4] == (Backstep(2, (True,), ()), Backstep(1, (False,), (1,)))


def test_a_term_that_counts_twice_adds_up() -> None:
    program = program_of(Instruction("exp", 2, 1, ((0,),)), terms=(2, 2))

    assert plan_backward(program)[0] == Backstep(-1, (False,), (2,))
    replay = Interpreter(program, [0.0, 1.0], [])
    replay.backward([0.25, 0.5])
    assert replay.param_grads == [0.75, 0.0]


def test_nothing_flows_back_through_the_largest_and_what_nothing_reaches_is_zero() -> None:
    program = program_of(
        Instruction("exp", 2, 2, ((0, 1),)),
        Instruction("max", 4, 1, ((2, 3),), (0, 2)),
        Instruction("sub", 5, 1, ((0,), (4,))),
        terms=(5,),
    )

    assert [step.instruction for step in plan_backward(program)] == [-1, 3, 1, 0]
    assert plan_backward(program)[2] == Backstep(1, (False,), (2, 3, 1))
    replay = Interpreter(program, [0.0, 1.0], [])
    replay.backward([1.0])
    assert replay.param_grads == [1.0, 0.0]


def test_a_matmul_stores_its_vectors_gradient() -> None:
    program = program_of(Matmul(2, 1, 1, 2, 0, 0, 0, 1), terms=(2,))

    assert plan_backward(program)[1] == Backstep(1, (True,), ())
    replay = Interpreter(program, [3.0, 5.0], [])
    replay.backward([1.0])
    assert replay.param_grads == [6.0, 10.0]  # as weight and as vector
