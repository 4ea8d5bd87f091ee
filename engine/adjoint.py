"""The way back: in which order a program's instructions pass gradients on, and who writes first.

Gradients have rows like values. The first writer of a row stores and the later ones add, so that no
memory has to be cleared for each document; where several scalars of one instruction are the first
to write the same row, that row is cleared before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.program import Program, reads

WITHOUT_GRADIENT = ("max", "const")  # nothing flows back through them


@dataclass(frozen=True, slots=True)
class Backstep:
    """One instruction, backwards.

    Attributes:
        instruction: its number in the program; -1 for the terms, which come first.
        stores: for each operand, whether its rows are written here for the first time.
        clears: rows to set to zero before.
    """

    instruction: int
    stores: tuple[bool, ...]
    clears: tuple[int, ...]


def plan_backward(program: Program) -> tuple[Backstep, ...]:
    """Order the steps back from the terms to the parameters."""
    written = bytearray(program.rows)
    steps = [_step(written, -1, (), (program.terms,))]
    for i in range(len(program) - 1, -1, -1):
        instruction = program.instructions[i]
        if instruction.op not in WITHOUT_GRADIENT:
            own = range(instruction.first, instruction.first + instruction.count)
            steps.append(_step(written, i, own, reads(instruction)))
    return tuple(steps)


def _step(
    written: bytearray, number: int, own: Sequence[int], operands: Sequence[Sequence[int]]
) -> Backstep:
    """Mark what a step writes. `own` are the rows it passes on: nobody may have written them."""
    clears = [row for row in own if not written[row]]
    stores = []
    for k, rows in enumerate(operands):
        others = {row for other in (*operands[:k], *operands[k + 1 :]) for row in other}
        is_first = (
            len(set(rows)) == len(rows)
            and others.isdisjoint(rows)
            and not any(written[row] for row in rows)
        )
        stores.append(is_first)
    for rows, is_first in zip(operands, stores, strict=True):
        for row in rows:
            if not written[row] and not is_first:
                clears.append(row)
            written[row] = True
    return Backstep(number, tuple(stores), tuple(clears))
