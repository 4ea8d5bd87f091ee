"""`gradflock plot`: the curves of one or several runs as a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from cli.curves import CURVES, X_AXES, phase_shares, usual_smooth
from cli.errors import UsageError
from cli.extras import load
from cli.metrics_lines import read_run, unique_names
from cli.options import newest_run_dir, option
from cli.view import say

KINDS = ("png", "svg", "pdf")
PHASES = "phases"
Y_LABELS = {"loss": "loss (nats per position)", "rate": "documents/s"}


@click.command()
@click.argument(
    "runs", nargs=-1, metavar="[RUN]...", type=click.Path(file_okay=False, path_type=Path)
)
@option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    default="loss.png",
    show_default=True,
    help="Where the picture goes; ends in .png, .svg or .pdf.",
)
@option(
    "--smooth",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw the mean of N steps, and each single one faintly behind it; by default N is a"
    " fiftieth of the longest run, and 1 is none.",
)
@option("--x", "axis", type=click.Choice(list(X_AXES)), default="step", show_default=True)
@option(
    "--y",
    "quantity",
    type=click.Choice([*CURVES, PHASES]),
    default="loss",
    show_default=True,
    help="rate is documents/s; phases is what the time of a step is spent on.",
)
def plot(runs: Sequence[Path], output: Path, smooth: int | None, axis: str, quantity: str) -> None:
    """Draw the loss of runs (by default the newest under ./runs) against updates applied.

    Held-out losses are marked. Only metrics.jsonl is read: a run may go on meanwhile. Needs
    matplotlib: pip install 'gradflock[plot]'.
    """
    kind = output.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise UsageError(
            f"expected a file that ends in .png, .svg or .pdf, got {output.name!r} — --output;"
            " give one of them"
        )
    read = {}
    for run_dir, name in unique_names(runs or [newest_run_dir()]).items():
        read[name], complaint = read_run(run_dir)
        if complaint:
            say(complaint)
    if quantity == PHASES:
        shares = [phase_shares(name, lines, axis) for name, lines in read.items()]
        draw_shares: Callable[..., bytes] = load("cli.figure:draw_shares", "plot")
        picture = draw_shares(shares, X_AXES[axis], kind)
    else:
        steps = smooth or usual_smooth(read.values())
        curves = [CURVES[quantity](name, lines, axis, steps) for name, lines in read.items()]
        label = Y_LABELS[quantity] + (f", mean of {steps:,} steps" if steps > 1 else "")
        draw_curves: Callable[..., bytes] = load("cli.figure:draw_curves", "plot")
        picture = draw_curves(curves, X_AXES[axis], label, kind, from_zero=quantity == "rate")
    output.write_bytes(picture)
    say(f"wrote {output}: {quantity} of {', '.join(read)}")
