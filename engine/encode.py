"""Encoding: programs as arrays of numbers, for kernels that were compiled before there was any.

One row of `code` is one step, forward or backward. Its fields are small numbers or point into
`places`, where the rows and parameters of the operands stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from engine.adjoint import plan_backward
from engine.program import AnyInstruction, Matmul, Program

Opcode = IntEnum(
    "Opcode",
    "SCALE SHIFT POW SQUARE SQRT RECIPROCAL RSQRT EXP LOG RELU ADD SUB MUL SUM DOT MAX PICK"
    " LOOKUP SPREAD CONST MATMUL TERMS CLEAR",
    start=0,
)


class Field(IntEnum):
    """The columns of `code`; a matmul has other ones from A on."""

    OP = 0
    FIRST = auto()  # row it writes first
    COUNT = auto()  # rows
    A_STORES = auto()  # backward: whether the first operand's gradient begins here
    B_STORES = auto()
    A = auto()  # where in `places` the rows (or parameters) of the operands begin
    B = auto()
    BOUNDS = auto()  # where in `places` the bounds begin
    TOKENS = auto()  # where in `places` the token of each row begins

    VECTORS = A
    WEIGHTS = B
    COLUMNS = BOUNDS
    X = TOKENS
    X_VECTOR = auto()
    X_COLUMN = auto()


@dataclass(frozen=True, slots=True)
class Library:
    """Several programs, ready to be replayed.

    Attributes:
        code: (steps, fields) int64.
        constants: (steps,) float64, the plain number of a step.
        places: int64.
        spans: (programs, 3) int64: the first step forward, the first backward, the end.
        rows: of the largest program.
    """

    code: NDArray[np.int64]
    constants: NDArray[np.float64]
    places: NDArray[np.int64]
    spans: NDArray[np.int64]
    rows: int


def encode(programs: Sequence[Program]) -> Library:
    """Turn programs into arrays."""
    encoder = _Encoder()
    spans = [encoder.add(program) for program in programs]
    return Library(
        code=np.array(encoder.code, dtype=np.int64),
        constants=np.array(encoder.constants, dtype=np.float64),
        places=np.array(encoder.places, dtype=np.int64),
        spans=np.array(spans, dtype=np.int64),
        rows=max(program.rows for program in programs),
    )


class _Encoder:
    def __init__(self) -> None:
        self.code: list[list[int]] = []
        self.constants: list[float] = []
        self.places: list[int] = []

    def add(self, program: Program) -> tuple[int, int, int]:
        """Append a program's steps; give its span."""
        forward = len(self.code)
        rows = [self._fields(instruction) for instruction in program.instructions]
        terms = {
            Field.OP: Opcode.TERMS,
            Field.COUNT: len(program.terms),
            Field.A: self._place(program.terms),
        }
        constants = [
            0.0 if isinstance(instruction, Matmul) else instruction.constant
            for instruction in program.instructions
        ]
        for fields, constant in zip((*rows, terms), (*constants, 0.0), strict=True):
            self._append(fields, constant)
        backward = len(self.code)
        for step in plan_backward(program):
            if step.clears:
                at = self._place(step.clears)
                clear = {Field.OP: Opcode.CLEAR, Field.COUNT: len(step.clears), Field.A: at}
                self._append(clear, 0.0)
            fields = terms if step.instruction < 0 else rows[step.instruction]
            constant = 0.0 if step.instruction < 0 else constants[step.instruction]
            flags = zip((Field.A_STORES, Field.B_STORES), step.stores, strict=False)
            self._append({**fields, **dict(flags)}, constant)
        return forward, backward, len(self.code)

    def _fields(self, instruction: AnyInstruction) -> dict[Field, int]:
        fields = {
            Field.OP: Opcode[instruction.op.upper()],
            Field.FIRST: instruction.first,
            Field.COUNT: instruction.count,
        }
        if isinstance(instruction, Matmul):
            return fields | {
                Field.A_STORES: True,  # forward
                Field.VECTORS: instruction.vectors,
                Field.WEIGHTS: instruction.weights,
                Field.COLUMNS: instruction.columns,
                Field.X: instruction.x,
                Field.X_VECTOR: instruction.x_vector,
                Field.X_COLUMN: instruction.x_column,
            }
        for field, operand in zip((Field.A, Field.B), instruction.operands, strict=False):
            fields[field] = self._place(operand)
        fields[Field.BOUNDS] = self._place(instruction.bounds)
        fields[Field.TOKENS] = self._place(instruction.tokens)
        return fields

    def _place(self, numbers: Sequence[int]) -> int:
        at = len(self.places)
        self.places += numbers
        return at

    def _append(self, fields: dict[Field, int], constant: float) -> None:
        self.code.append([fields.get(field, 0) for field in Field])
        self.constants.append(constant)
