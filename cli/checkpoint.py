"""`gradflock checkpoint`: look at what a run has saved, check it, and take its weights elsewhere.

Nothing here writes to a run directory, and nothing needs its lock: a run may go on meanwhile.
"""

import json
import re
from pathlib import Path
from typing import Any

import click

from cli import checkpoint_text, errors
from cli.checkpoint_facts import (
    all_entries,
    check_step,
    details,
    entries,
    pick,
    set_aside,
    steps_of,
)
from cli.export import FORMATS
from cli.export import export as export_weights
from cli.options import newest_run_dir, option
from cli.view import say
from coordinator.run_directory import RunDirectory

_RUN_DIR_TYPE = click.Path(file_okay=False, path_type=Path)
_RUN_DIR_HELP = "Where a run lives; by default the newest under ./runs."


class StepType(click.ParamType[int]):
    """The number of a step that is saved."""

    name = "STEP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if re.fullmatch(r"\d{1,18}", value, re.ASCII) is None:
            self.fail(f"expected the number of a step, got {value!r}", param, ctx)
        return int(value)


@click.group()
@option("--run-dir", type=_RUN_DIR_TYPE, help=_RUN_DIR_HELP)
@click.pass_context
def checkpoint(ctx: click.Context, run_dir: Path | None) -> None:
    """List, show, verify and export the checkpoints of a run."""
    ctx.obj = run_dir


def _or_that_of_the_group(
    ctx: click.Context, _param: click.Parameter, run_dir: Path | None
) -> Path | None:
    return run_dir or ctx.obj


# Also behind the name of the command, where people write it. The group's own knows the variable and
# the configuration file, which must not win over it.
_run_dir_option = click.option(
    "--run-dir",
    type=_RUN_DIR_TYPE,
    callback=_or_that_of_the_group,
    help=_RUN_DIR_HELP,
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_step = StepType()


@checkpoint.command()
@_run_dir_option
@_json_option
def ls(run_dir: Path | None, as_json: bool) -> None:
    """List a run's checkpoints, newest first.

    Each is read and checked. WEIGHTS is the beginning of the sha256 of the parameters.
    """
    directory = RunDirectory(run_dir or newest_run_dir())
    seen = list(all_entries(directory))
    aside = set_aside(directory)
    if as_json:
        values = {
            "run_dir": str(directory.path),
            "checkpoints": [entry.as_json() for entry in seen],
            "set_aside": [path.name for path in aside],
        }
        click.echo(json.dumps(values, allow_nan=False))
        return
    for line in checkpoint_text.table(seen, aside):
        click.echo(line)


@checkpoint.command()
@click.argument("step", type=_step, required=False)
@_run_dir_option
@_json_option
def show(step: int | None, run_dir: Path | None, as_json: bool) -> None:
    """Show all of one checkpoint but its numbers.

    By default of the newest that is valid.
    """
    directory = RunDirectory(run_dir or newest_run_dir())
    found = details(directory, step, say)
    if as_json:
        click.echo(json.dumps(found.as_json(), allow_nan=False))
        return
    for line in checkpoint_text.detailed(found):
        click.echo(line)


@checkpoint.command()
@click.argument("steps", metavar="[STEP]...", type=_step, nargs=-1)
@_run_dir_option
@_json_option
def verify(steps: tuple[int, ...], run_dir: Path | None, as_json: bool) -> int:
    """Read and check checkpoints, by default all.

    The exit code is 1 if one of them is not valid, or was named and is gone.
    """
    directory = RunDirectory(run_dir or newest_run_dir())
    saved = steps_of(directory)
    for step in steps:
        check_step(directory, saved, step)
    width = len(str(max(steps or saved)))
    seen = []
    named = dict.fromkeys(steps)
    for entry in entries(directory, named, are_named=True) if named else all_entries(directory):
        seen.append(entry)
        if not as_json:
            click.echo(checkpoint_text.verdict_line(entry, width))
    if as_json:
        values = [entry.as_json() for entry in seen]
        click.echo(json.dumps({"run_dir": str(directory.path), "checkpoints": values}))
    else:
        click.echo(checkpoint_text.verdict_summary(seen, directory.checkpoints.path))
    return errors.FAILURE if any(entry.problem for entry in seen) else errors.DONE


@checkpoint.command()
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--step", type=_step, help="Which; by default the newest valid one.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(FORMATS)),
    default="json",
    show_default=True,
    help="One file of JSON, or a directory that PyTorch loads through safetensors.",
)
@_run_dir_option
def export(destination: Path, step: int | None, kind: str, run_dir: Path | None) -> None:
    """Write weights for PyTorch, or as JSON.

    Other programs read back the same bits. Nothing that exists is overwritten.
    """
    directory = RunDirectory(run_dir or newest_run_dir())
    picked = pick(directory, step, say)
    loading = export_weights(kind, picked, destination)
    click.echo(f"wrote {destination}: {picked.model.num_params:,} parameters of step {picked.step}")
    click.echo(f"weights sha256 {picked.weights_sha256}")
    click.echo("load it with\n")
    for line in loading.splitlines():
        click.echo(f"    {line}")
