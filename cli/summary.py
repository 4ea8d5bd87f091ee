"""What `train` prints at the end: the loss, twenty names, and how to go on from here."""

import json
import math
import shlex
import shutil
import sys
from typing import Any

import click

from cli.plan import Plan
from coordinator.checkpoint import Checkpoint
from coordinator.errors import RunDirectoryError
from coordinator.metrics import held_out_loss_of
from coordinator.run_directory import RunDirectory
from sampler.model import ServedModel
from sampler.order import Order, Settings
from sampler.sampling import draw_all

NUM_SAMPLES = 20
COLUMNS = 5


def print_summary(
    directory: RunDirectory,
    plan: Plan,
    workers: int,
    temperature: float,
    seconds: float,
    as_json: bool,
) -> None:
    """Print what a run has come to, from its newest checkpoint.

    Raises:
        RunDirectoryError: there is no checkpoint; the run was stopped before its first.
    """
    checkpoint, _ = directory.checkpoints.newest()
    if checkpoint is None:
        raise RunDirectoryError(
            f"expected a checkpoint at the end, got none — {directory.path}; see its logs"
        )
    settings = Settings(temperature)
    names = Order(ServedModel(checkpoint), ((),), NUM_SAMPLES, settings, seed=None)
    facts: dict[str, Any] = {
        "steps": checkpoint.step,
        "loss": checkpoint.loss,
        "weights_sha256": checkpoint.weights_sha256,
        "run_dir": str(directory.path),
        "samples": draw_all(names),
        "workers": workers,
        "seconds": round(seconds, 3),
        "exact_numerics": checkpoint.has_exact_numerics,
    }
    is_finished = checkpoint.step >= plan.run.train.steps
    held_out_loss = held_out_loss_of(directory.metrics, checkpoint.step)
    if as_json:
        if plan.run.held_out:
            is_number = held_out_loss is not None and math.isfinite(held_out_loss)
            facts["held_out_loss"] = held_out_loss if is_number else None  # JSON has no NaN
        click.echo(json.dumps(facts))
    elif is_finished:
        _print_end(facts, held_out_loss, checkpoint, temperature, directory)
    else:
        steps = plan.run.train.steps
        click.echo(f"stopped; {checkpoint.step} of {steps} steps are durable")
        click.echo(f"go on with  {resume_command(directory, checkpoint, steps)}")


def _print_end(
    facts: dict[str, Any],
    held_out_loss: float | None,
    checkpoint: Checkpoint,
    temperature: float,
    directory: RunDirectory,
) -> None:
    held_out = ""
    if held_out_loss is not None:
        shown = f"{held_out_loss:.4f}" if math.isfinite(held_out_loss) else "not finite"
        held_out = f", held-out loss {shown}"
    click.echo(
        f"\n{facts['steps']} steps of {checkpoint.train.batch_size} documents"
        f" with {facts['workers']} workers in {facts['seconds']:.1f} s:"
        f" loss {facts['loss']:.4f}{held_out}"
    )
    click.echo(f"\n{NUM_SAMPLES} names it invents (temperature {temperature:g}):\n")
    samples = facts["samples"]
    for start in range(0, len(samples), COLUMNS):
        row = samples[start : start + COLUMNS]
        click.echo("  " + "".join(name.ljust(18) for name in row).rstrip())
    click.echo(f"\nrun      {facts['run_dir']}")
    click.echo(f"weights  sha256 {facts['weights_sha256']}{numerics_note(checkpoint)}")
    click.echo(f"more     {_command('sample -n 10', directory)}")


def resume_command(directory: RunDirectory, checkpoint: Checkpoint, steps: int) -> str:
    """Give the command that goes on with a run from a checkpoint.

    Args:
        steps: of the run; the checkpoint may be from before they were raised.
    """
    more = "" if steps == checkpoint.train.steps else f" --steps {steps}"
    return _command("train --resume", directory) + more


def numerics_note(checkpoint: Checkpoint) -> str:
    """Say so, where bits are no promise."""
    if checkpoint.has_exact_numerics:
        return ""
    return " (numerics accepted: workers that round otherwise may have contributed)"


def _command(words: str, directory: RunDirectory) -> str:
    """Give a command on this run as one can type it here."""
    program = shlex.quote(sys.argv[0])
    if sys.argv[0] == shutil.which("gradflock"):
        program = "gradflock"
    elif program.endswith(".py"):
        program = f"{shlex.quote(sys.executable)} -m cli"
    return f"{program} {words} --run-dir {shlex.quote(str(directory.path))}"
