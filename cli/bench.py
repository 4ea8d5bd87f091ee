"""`gradflock bench`: measure this machine with the scripts that documented numbers come from.

The scripts are the package `benchmarks`, which nothing imports: the process becomes one of them.
"""

import os
import sys
from importlib.util import find_spec

import click

from cli.errors import UsageError

PACKAGE = "benchmarks"
NAMES = ("engine", "transport", "scaling", "swarm", "watching")


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("name", type=click.Choice(NAMES))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def bench(name: str, args: tuple[str, ...]) -> None:
    """Measure this machine: a table for people, or with --json one object.

    \b
    engine     how fast gradients are computed on one core; beside PyTorch
    transport  how long a message and its answer take between two processes
    scaling    what more workers bring; beside PyTorch's DistributedDataParallel
    swarm      one coordinator under many workers that answer at once
    watching   what it costs a run to be watched

    What follows NAME is the benchmark's own: gradflock bench scaling --help. What else the machine
    does meanwhile is measured with it; trust ratios that one run gives, not times of two.
    """
    if find_spec(PACKAGE) is None:
        raise UsageError(
            f"expected the package {PACKAGE}, got none — bench {name};"
            " install gradflock from its repository"
        )
    os.execv(sys.executable, [sys.executable, "-m", f"{PACKAGE}.{name}", *args])
