"""`gradflock explain`: what happens to one document, from its characters to a gradient.

Nothing is trained and nothing is fetched. The parameters are those of a run's newest checkpoint, or
fresh ones: those that `train` would start from on the bundled names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.dataset import BUNDLED, load_dataset
from cli.errors import UsageError
from cli.explanation import ModelToExplain, explain_document
from cli.explanation_text import text_of
from cli.options import run_dir_option
from cli.train import train
from cli.view import say
from coordinator.errors import RunDirectoryError
from coordinator.run_directory import RunDirectory
from engine.config import ModelConfig, TrainConfig
from engine.errors import UnknownCharacter
from engine.params import Matrix, layout_of
from engine.run import prepare_run
from engine.tokenizer import Tokenizer

SHAPE = {*ModelConfig.__dataclass_fields__, "seed"} - {"vocab_size"}  # flags shared with train


@click.command(params=[param for param in train.params if param.name in SHAPE])
@click.argument("text")
@run_dir_option
@click.option("--param", metavar="'MATRIX[ROW][COLUMN]'", help="Follow one gradient to the loss.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many contributions to a gradient.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    text: str, run_dir: Path | None, param: str | None, top: int, as_json: bool, **flags: Any
) -> None:
    """Show what happens to one document: its graph, what each pass makes of it, one gradient.

    TEXT is the document: gradflock explain emma
    """
    said = {name: value for name, value in flags.items() if value is not None}
    model = _fresh(said) if run_dir is None else _trained(run_dir, said)
    try:
        tokens = model.tokenizer.encode_document(text, model.config.block_size)
    except UnknownCharacter as error:
        raise UsageError(str(error)) from None
    index = None if param is None else find_parameter(layout_of(model.config), param)
    explanation = explain_document(model, text, tokens, index)
    if as_json:
        click.echo(json.dumps(explanation.as_json(top), allow_nan=False))
        return
    for line in text_of(explanation, top):
        click.echo(line)
    if param is None:
        matrix = f"wte[{tokens[0]}][0]"
        click.echo(f'\nfollow one gradient to the loss: add --param "{matrix}"')


def find_parameter(layout: Sequence[Matrix], text: str) -> int:
    """Give the flat index of a parameter by its name, like wte[3][5].

    Raises:
        UsageError: there is none of that name.
    """
    shapes = ", ".join(f"{matrix.name} {matrix.rows} x {matrix.columns}" for matrix in layout)
    match = re.fullmatch(r"([\w.]+)\[(\d{1,9})\]\[(\d{1,9})\]", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(
            f"expected a parameter like 'wte[3][5]', got {text!r} — --param; give a matrix, a row"
            f" and a column, from 0 and in quotes, of: {shapes}"
        )
    name, row, column = match[1], int(match[2]), int(match[3])
    for matrix in layout:
        if matrix.name == name and row < matrix.rows and column < matrix.columns:
            return matrix.offset + row * matrix.columns + column
        if matrix.name == name:
            raise UsageError(
                f"expected a row from 0 to {matrix.rows - 1} and a column from 0 to"
                f" {matrix.columns - 1}, got {text!r} — --param; {name} is {matrix.rows} x"
                f" {matrix.columns} (rows x columns)"
            )
    raise UsageError(f"expected a matrix of the model, got {name!r} — --param; it has: {shapes}")


# ---- the model ----------------------------------------------------------------------------------


def _fresh(said: Mapping[str, Any]) -> ModelToExplain:
    shape = {name: value for name, value in said.items() if name != "seed"}
    seed = {"seed": said["seed"]} if "seed" in said else {}
    config = TrainConfig(steps=1, batch_size=1, shards=1, **seed)
    run = prepare_run(load_dataset(BUNDLED, say).texts, config, shape)
    source = f"fresh, as train draws them with seed {config.seed} on the bundled names"
    return ModelToExplain(source, run.model, run.tokenizer, run.params)


def _trained(run_dir: Path, said: Mapping[str, Any]) -> ModelToExplain:
    """Load a run's newest checkpoint.

    Raises:
        RunDirectoryError: there is none, or it is of another shape than was said.
    """
    checkpoint, complaints = RunDirectory(run_dir).checkpoints.newest()
    for complaint in complaints:
        say(f"passed over a checkpoint: {complaint}")
    if checkpoint is None:
        raise RunDirectoryError(
            f"expected a run with a checkpoint, got none — {run_dir}; check --run-dir"
        )
    recorded = {**asdict(checkpoint.model), "seed": checkpoint.train.seed}
    for name, value in said.items():
        if value != recorded[name]:
            raise RunDirectoryError(
                f"expected {name} {recorded[name]!r} as recorded, got {value!r}"
                f" — {run_dir}; leave the flag out"
            )
    source = f"of {run_dir} after {checkpoint.step} steps"
    tokenizer = Tokenizer(checkpoint.characters)
    return ModelToExplain(source, checkpoint.model, tokenizer, checkpoint.params)
