"""A program is verified, and prints itself so that a reader recognises what it computes."""

from dataclasses import replace

import pytest

from engine.config import ModelConfig
from engine.errors import GraphError
from engine.fuse import fuse
from engine.params import layout_of
from engine.program import AnyInstruction, Instruction, Matmul, Program, reads, verify
from engine.trace import trace_document
from engine.vectorize import vectorize

pytestmark = pytest.mark.unit

PROGRAM = Program(
    (
        Instruction("spread", 0, 2, ((4, 5),)),
        Instruction("lookup", 2, 1, ((4, 5),), (0, 2), 0.0, (0,)),
        Instruction("scale", 3, 2, ((0, 2),), constant=0.5),
        Matmul(5, vectors=1, rows=2, columns=2, weights=0, x=3, x_vector=0, x_column=1),
        Instruction("sum", 7, 2, ((5, 6, 0),), (0, 2, 3)),
    ),
    (7, 8),
    rows=9,
    num_params=6,
)


def test_a_program_prints_itself_one_instruction_a_line() -> None:
    assert str(PROGRAM).splitlines() == [
        "v0   [2]        = spread  params 4..5",
        "v1   [1]        = lookup  params 4..5 by token 0 (2 each)",
        "v2   [2]        = scale   v0[0]+v1 by 0.5",
        "v3   [1 x 2]    = matmul  params 0..3 (2 x 2) @ v2",
        "v4   [2]        = sum     v0[0]+v3 (1..2 each)",
        "terms v4",
    ]


def test_a_layout_gives_the_parameters_names() -> None:
    model = ModelConfig(vocab_size=5, n_embd=4, n_head=2, block_size=3)
    text = vectorize(fuse(trace_document(model, 2)), model.num_params).text(layout_of(model))

    assert "spread  wpe" in text
    assert "lookup  wte by token 0..1 (5 each)" in text
    assert "matmul  layer0.attn_wq layer0.attn_wk layer0.attn_wv (12 x 4)" in text
    assert "matmul  lm_head (5 x 4)" in text


def test_what_reads_parameters_reads_no_rows() -> None:
    read = [reads(instruction) for instruction in PROGRAM.instructions]

    assert read == [(), (), ((0, 2),), ((3, 4),), ((5, 6, 0),)]


@pytest.mark.parametrize(
    ("instruction", "sentence"),
    [
        (Instruction("exp", 8, 1, ((0,),)), "expected row 9 next, got 8 — v5, exp"),
        (Instruction("exp", 10, 1, ((0,),)), "expected row 9 next, got 10 — v5, exp"),
        (Instruction("exp", 9, 1, ((9,),)), r"expected rows below 9, got \(9,\) — v5, exp"),
        (Instruction("exp", 9, 1, ((-1,),)), r"expected rows below 9, got \(-1,\) — v5, exp"),
        (Matmul(9, 2, 1, 2, 0, 6, 1, 2), r"expected rows below 9, got \(6, 8, 7, 9\) — v5, matmul"),
    ],
)
def test_rows_come_in_order_and_are_written_before_they_are_read(
    instruction: AnyInstruction, sentence: str
) -> None:
    assert_refused(instruction, sentence)


@pytest.mark.parametrize(
    "instruction",
    [
        Instruction("sine", 9, 1, ((0,),)),
        Instruction("exp", 9, 1, ()),
        Instruction("exp", 9, 1, ((0,), (1,))),
        Instruction("exp", 9, 1, ((0, 1),)),
        Instruction("exp", 9, 1, ((0,),), (0, 1)),
        Instruction("exp", 9, 1, ((0,),), tokens=(0,)),
        Instruction("exp", 9, 0, ((),)),
        Instruction("add", 9, 1, ((0,),)),
        Instruction("add", 9, 2, ((0, 1), (0,))),
        Instruction("const", 9, 1, ((0,),)),
        Instruction("sum", 9, 1, ((0,),)),
        Instruction("sum", 9, 1, ((0, 1),), (1, 2)),
        Instruction("sum", 9, 1, ((0, 1),), (0, 1)),
        Instruction("sum", 9, 2, ((0, 1),), (0, 2)),
        Instruction("sum", 9, 2, ((0, 1),), (0, 0, 2)),
        Instruction("sum", 9, 0, ((),), (0,)),
        Instruction("dot", 9, 1, ((0, 1),), (0, 2)),
        Instruction("dot", 9, 1, ((0, 1), (0,)), (0, 2)),
        Instruction("pick", 9, 1, ((0, 1),), (0, 2)),
        Instruction("pick", 9, 1, ((0, 1),), (0, 2), 0.0, (-1,)),
        Instruction("lookup", 9, 1, ((0, 1),), (0, 2), 0.0, (0, 1)),
        Instruction("lookup", 9, 1, ((0, 6),), (0, 2), 0.0, (0,)),
        Instruction("spread", 9, 1, ((-1,),)),
        Instruction("spread", 9, 1, ((6,),)),
        Matmul(9, 0, 1, 2, 0, 3, 0, 1),
        Matmul(9, 1, 0, 2, 0, 3, 0, 1),
        Matmul(9, 1, 1, 0, 0, 3, 0, 1),
        Matmul(9, 1, 1, 2, -1, 3, 0, 1),
        Matmul(9, 1, 1, 2, 5, 3, 0, 1),
        Matmul(9, 1, 1, 2, 0, 3, 0, 0),  # a row twice in a vector
        Matmul(9, 2, 1, 2, 0, 3, 1, 1),  # a row in two vectors
    ],
    ids=repr,
)
def test_an_instruction_without_an_operand_for_each_row_is_named(
    instruction: AnyInstruction,
) -> None:
    assert_refused(instruction, f"expected operands for each row, got .* — v5, {instruction.op}")


@pytest.mark.parametrize("terms", [(), (9,), (-1,), (0, 99)])
def test_a_program_without_results_in_it_is_none(terms: tuple[int, ...]) -> None:
    with pytest.raises(GraphError, match="expected terms in 9 rows, got"):
        verify(replace(PROGRAM, terms=terms))


@pytest.mark.parametrize("rows", [8, 10])
def test_a_program_has_as_many_rows_as_it_says(rows: int) -> None:
    with pytest.raises(GraphError, match=f"expected terms in {rows} rows, got"):
        verify(replace(PROGRAM, rows=rows))


def assert_refused(instruction: AnyInstruction, sentence: str) -> None:
    verify(PROGRAM)
    instructions = (*PROGRAM.instructions, instruction)
    with pytest.raises(GraphError, match=sentence):
        verify(replace(PROGRAM, instructions=instructions, rows=9 + instruction.count))
