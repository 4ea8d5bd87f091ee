"""`gradflock worker`: compute gradients for whichever coordinator answers."""

import math
import os
import re
import secrets
import socket
from functools import partial

import click

from cli import errors
from cli.errors import UsageError
from cli.kernels import make_engine
from cli.options import check_security, insecure_option, option, parent_option
from cli.stopping import StopFlag
from cli.version import versions
from cli.view import say
from wire.address import check_target
from worker.service import WorkerService
from worker.state import Identity

STABLE_CHARACTERS = 48  # of a name; the rest tells one process from another


@click.command()
@option("--connect", metavar="ADDRESS", required=True, help="The coordinator's tcp://host:port.")
@option("--name", help="What the coordinator calls it; the host's name by default.")
@option(
    "--max-idle",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave after so long without a coordinator; by default, never.",
)
@insecure_option
@parent_option
def worker(
    connect: str, name: str | None, max_idle: float | None, insecure: bool, parent: int | None
) -> int:
    """Join a run and compute gradients until it is done."""
    stop = StopFlag(parent)
    check_security(check_target(connect), insecure, say)
    host = socket.gethostname()
    if max_idle is not None and math.isnan(max_idle):
        raise UsageError("expected a number of seconds, got nan — --max-idle")
    if name is not None and not re.fullmatch(r"[\w.-]{1,64}", name, re.ASCII):
        raise UsageError(
            f"expected a name of 1 to 64 letters, digits, - . _, got {name!r} — --name"
        )
    identity = Identity(
        name=f"{(name or host)[:STABLE_CHARACTERS]}-{secrets.token_hex(4)}",
        host=host,
        pid=os.getpid(),
        versions=versions(),
    )
    with stop:
        service = WorkerService(identity, connect, max_idle, partial(make_engine, say=say), say)
        outcome = service.serve(stop)
    if outcome.failure is not None:
        click.secho(f"gradflock: {outcome.failure}", fg="red", err=True)
        return errors.REFUSED if outcome.is_permanent else errors.FAILURE
    return stop.exit_code
