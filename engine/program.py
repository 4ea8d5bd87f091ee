"""Program: a graph as instructions over whole blocks of rows, in the order they are carried out.

A row is one scalar of the graph, for each of the documents that are replayed side by side. Every
row is written once. Parameters are no rows: they are the same for all documents.

Instruction kinds, besides the operations of `engine.ops` and `engine.graph`:

    lookup   a pick among parameters: a row of an embedding, by token
    spread   a parameter, copied into a row where an operation wants one
    matmul   dots of consecutive parameters with vectors that they share
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeAlias

from engine.errors import GraphError
from engine.ops import BINARY, UNARY
from engine.params import Matrix

OF_ANY_ARITY = {"sum": 1, "dot": 2, "max": 1, "pick": 1, "lookup": 1}  # operation -> operands
NUM_OPERANDS = {
    **dict.fromkeys(UNARY, 1),
    **dict.fromkeys(BINARY, 2),
    "const": 0,
    "spread": 1,
    **OF_ANY_ARITY,
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation for `count` rows, from row `first` on.

    Attributes:
        operands: for each operand, the rows it is read from; parameter numbers for lookup and
            spread.
        bounds: for operations of any arity: row i has the operands bounds[i] to bounds[i + 1].
            Else empty: row i has the i-th of each operand.
        tokens: for pick and lookup: the token of the document that each row goes by.
    """

    op: str
    first: int
    count: int
    operands: tuple[tuple[int, ...], ...]
    bounds: tuple[int, ...] = ()
    constant: float = 0.0
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Matmul:
    """A (rows, columns) matrix of parameters times several vectors.

    Vector j's k-th scalar is row x + j * x_vector + k * x_column; its product's m-th scalar is
    row first + j * rows + m.

    Attributes:
        weights: number of the matrix's first parameter; the others follow row by row.
    """

    first: int
    vectors: int
    rows: int
    columns: int
    weights: int
    x: int
    x_vector: int
    x_column: int
    op: str = "matmul"

    @property
    def count(self) -> int:
        return self.vectors * self.rows

    @property
    def x_rows(self) -> tuple[int, ...]:
        return tuple(
            self.x + j * self.x_vector + k * self.x_column
            for j in range(self.vectors)
            for k in range(self.columns)
        )


AnyInstruction: TypeAlias = Instruction | Matmul


@dataclass(frozen=True, slots=True)
class Program:
    """What is replayed.

    Attributes:
        terms: the rows of the results; their weighted sum is differentiated.
        rows: how many rows there are.
        num_params: how many parameters the instructions may name.
    """

    instructions: tuple[AnyInstruction, ...]
    terms: tuple[int, ...]
    rows: int
    num_params: int

    def __len__(self) -> int:
        return len(self.instructions)

    def text(self, layout: Sequence[Matrix] = ()) -> str:
        """Print the program, one instruction a line; `layout` gives the parameters names."""
        lines = [
            f"v{i:<3} {f'[{_shape(instruction)}]':10} = {_words(self, instruction, layout)}"
            for i, instruction in enumerate(self.instructions)
        ]
        return "\n".join([*lines, f"terms {_rows(self, self.terms)}"])

    def __str__(self) -> str:
        return self.text()


def reads(instruction: AnyInstruction) -> tuple[tuple[int, ...], ...]:
    """Give the rows that an instruction reads, for each of its operands."""
    if isinstance(instruction, Matmul):
        return (instruction.x_rows,)
    return () if instruction.op in ("lookup", "spread") else instruction.operands


def verify(program: Program) -> None:
    """Make sure that every row is written once, before it is read.

    Raises:
        GraphError: it is not so; the message names the instruction.
    """
    written = 0
    for i, instruction in enumerate(program.instructions):
        where = f"v{i}, {instruction.op}"
        if instruction.first != written:
            raise GraphError(f"expected row {written} next, got {instruction.first} — {where}")
        for rows in reads(instruction):
            if any(not 0 <= row < written for row in rows):
                raise GraphError(f"expected rows below {written}, got {rows} — {where}")
        if not _is_whole(instruction, program.num_params):
            raise GraphError(f"expected operands for each row, got {instruction} — {where}")
        written += instruction.count
    terms = program.terms
    if written != program.rows or not terms or min(terms) < 0 or max(terms) >= written:
        raise GraphError(f"expected terms in {program.rows} rows, got {terms}, {written}")


def _is_whole(instruction: AnyInstruction, num_params: int) -> bool:
    if instruction.count <= 0:
        return False
    if isinstance(instruction, Matmul):
        size, x_rows = instruction.rows * instruction.columns, instruction.x_rows
        is_inside = size > 0 and 0 <= instruction.weights <= num_params - size
        return is_inside and len(set(x_rows)) == len(x_rows)  # a row's gradient is written once
    op, tokens = instruction.op, instruction.tokens
    numbers = chain(*instruction.operands) if op in ("lookup", "spread") else ()
    if any(not 0 <= number < num_params for number in numbers):
        return False
    num_tokens = instruction.count if op in ("lookup", "pick") else 0
    if len(tokens) != num_tokens or min(tokens, default=0) < 0:
        return False
    return len(instruction.operands) == NUM_OPERANDS.get(op) and _has_bounds(instruction)


def _has_bounds(instruction: Instruction) -> bool:
    bounds, lengths = instruction.bounds, {len(rows) for rows in instruction.operands}
    if instruction.op not in OF_ANY_ARITY:
        return not bounds and lengths <= {instruction.count}
    is_rising = bounds[:1] == (0,) and all(low < high for low, high in pairwise(bounds))
    return is_rising and len(bounds) == instruction.count + 1 and lengths == {bounds[-1]}


# ---- printing --------------------------------------------------------------------------------


def _shape(instruction: AnyInstruction) -> str:
    if isinstance(instruction, Matmul):
        return f"{instruction.vectors} x {instruction.rows}"
    return str(instruction.count)


def _words(program: Program, instruction: AnyInstruction, layout: Sequence[Matrix]) -> str:
    if isinstance(instruction, Matmul):
        size = instruction.rows * instruction.columns
        names = _names(layout, instruction.weights, instruction.weights + size)
        shape = f"({instruction.rows} x {instruction.columns})"
        return f"matmul  {names} {shape} @ {_rows(program, instruction.x_rows)}"
    words = [f"{instruction.op:7}"]
    if instruction.op in ("lookup", "spread"):
        numbers = instruction.operands[0]
        words.append(_names(layout, min(numbers), max(numbers) + 1))
    else:
        words.append(", ".join(_rows(program, rows) for rows in instruction.operands))
    if instruction.op in ("scale", "shift", "pow", "const"):
        words.append(f"by {instruction.constant:.6g}")
    if instruction.tokens:
        words.append(f"by token {_range(min(instruction.tokens), max(instruction.tokens) + 1)}")
    if instruction.bounds:
        arities = {high - low for low, high in pairwise(instruction.bounds)}
        words.append(f"({_range(min(arities), max(arities) + 1)} each)")
    return " ".join(words)


def _range(low: int, high: int) -> str:
    return f"{low}" if high == low + 1 else f"{low}..{high - 1}"


def _names(layout: Sequence[Matrix], low: int, high: int) -> str:
    names = [
        matrix.name
        for matrix in layout
        if matrix.offset < high and low < matrix.offset + matrix.rows * matrix.columns
    ]
    return " ".join(names) or f"params {_range(low, high)}"


def _rows(program: Program, rows: Sequence[int]) -> str:
    """Name rows by the instructions that write them; of a matmul, by columns."""
    found = []
    for i, instruction in enumerate(program.instructions):
        places = {row - instruction.first for row in rows}
        inside = sorted(place for place in places if 0 <= place < instruction.count)
        if len(inside) == instruction.count:
            found.append(f"v{i}")
        elif inside:
            width = instruction.rows if isinstance(instruction, Matmul) else 0
            columns = sorted({place % width for place in inside}) if width else inside
            is_band = 0 < len(columns) < width
            where = (
                _range(columns[0], columns[-1] + 1)
                if is_band
                else _range(inside[0], inside[-1] + 1)
            )
            found.append(f"v{i}[{':, ' if is_band else ''}{where}]")
    return "+".join(found)
