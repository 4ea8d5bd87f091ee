"""A program becomes numbers: each step has its fields, and its operands stand in `places`."""

import numpy as np
import pytest

from engine.encode import Field, Opcode, encode
from engine.ops import BINARY, UNARY
from engine.program import Instruction, Matmul, Program

pytestmark = pytest.mark.unit

PROGRAM = Program(
    (
        Instruction("spread", 0, 2, ((4, 5),)),
        Instruction("lookup", 2, 1, ((5, 4),), (0, 2), 0.0, (7,)),
        Instruction("scale", 3, 2, ((0, 2),), constant=0.5),
        Matmul(5, vectors=1, rows=2, columns=2, weights=1, x=3, x_vector=0, x_column=1),
        Instruction("dot", 7, 2, ((5, 6, 0), (6, 5, 1)), (0, 2, 3)),
    ),
    (7, 8),
    rows=9,
    num_params=6,
)
SMALL = Program((Instruction("spread", 0, 1, ((3,),)),), (0,), rows=1, num_params=6)
LIBRARY = encode([PROGRAM, SMALL])
FORWARD, BACKWARD, END = LIBRARY.spans[0].tolist()


def step_of(opcode: Opcode, first: int, last: int) -> np.ndarray:
    (found,) = (row for row in LIBRARY.code[first:last] if row[Field.OP] == opcode)
    return found


def places_at(step: np.ndarray, field: Field, count: int) -> list[int]:
    return LIBRARY.places[step[field] : step[field] + count].tolist()


def test_every_operation_of_the_table_has_a_number() -> None:
    assert {name.upper() for name in (*UNARY, *BINARY)} <= {opcode.name for opcode in Opcode}


def test_operations_of_one_operand_come_first_then_those_of_two() -> None:
    numbers = [Opcode[name.upper()] for name in (*UNARY, *BINARY)]

    assert numbers == list(range(len(UNARY) + len(BINARY)))
    assert (numbers[len(UNARY) - 1], numbers[-1]) == (Opcode.RELU, Opcode.MUL)


def test_a_program_is_its_instructions_forward_and_then_its_plan_backward() -> None:
    ops = [Opcode(op).name for op in LIBRARY.code[:, Field.OP]]

    assert ops[FORWARD:BACKWARD] == ["SPREAD", "LOOKUP", "SCALE", "MATMUL", "DOT", "TERMS"]
    assert ops[BACKWARD:END] == [
        *("TERMS", "CLEAR", "DOT", "MATMUL", "CLEAR", "SCALE", "LOOKUP", "SPREAD"),
    ]
    assert LIBRARY.spans[1].tolist() == [END, END + 2, len(ops)]


def test_a_library_needs_the_rows_of_its_largest_program() -> None:
    assert LIBRARY.rows == 9
    assert len(LIBRARY.constants) == len(LIBRARY.code)


def test_operands_bounds_and_tokens_stand_in_the_places() -> None:
    lookup = step_of(Opcode.LOOKUP, FORWARD, BACKWARD)
    dot = step_of(Opcode.DOT, FORWARD, BACKWARD)

    assert (lookup[Field.FIRST], lookup[Field.COUNT]) == (2, 1)
    assert places_at(lookup, Field.A, 2) == [5, 4]
    assert places_at(lookup, Field.BOUNDS, 2) == [0, 2]
    assert places_at(lookup, Field.TOKENS, 1) == [7]
    assert places_at(dot, Field.A, 3) == [5, 6, 0]
    assert places_at(dot, Field.B, 3) == [6, 5, 1]
    assert places_at(dot, Field.BOUNDS, 3) == [0, 2, 3]


def test_constants_go_with_their_steps_both_ways() -> None:
    scales = LIBRARY.constants[LIBRARY.code[:, Field.OP] == Opcode.SCALE]

    assert scales.tolist() == [0.5, 0.5]
    assert np.count_nonzero(LIBRARY.constants) == 2


def test_a_matmul_has_fields_of_its_own() -> None:
    matmul = step_of(Opcode.MATMUL, FORWARD, BACKWARD)

    names = ("FIRST", "COUNT", "VECTORS", "WEIGHTS", "COLUMNS", "X", "X_VECTOR", "X_COLUMN")
    assert [matmul[Field[name]] for name in names] == [5, 2, 1, 1, 2, 3, 0, 1]
    assert matmul[Field.A_STORES] == 1  # forward it stores its products


def test_the_flags_of_the_plan_are_those_of_the_steps_backward() -> None:
    flags = LIBRARY.code[BACKWARD:END, [Field.A_STORES, Field.B_STORES]].tolist()

    assert flags == [[1, 0], [0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]


def test_rows_to_clear_stand_in_the_places() -> None:
    first, second = (LIBRARY.code[BACKWARD + step] for step in (1, 4))

    assert places_at(first, Field.A, first[Field.COUNT]) == [5, 6, 0, 1]
    assert places_at(second, Field.A, second[Field.COUNT]) == [2]
