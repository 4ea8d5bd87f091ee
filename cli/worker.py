"""`gradflock worker`: compute gradients for whichever coordinator answers."""

import math
import os
import re
import secrets
import socket
from functools import partial
from pathlib import Path

import click

from cli import errors
from cli.cores import stay_on
from cli.errors import UsageError
from cli.kernels import make_engine
from cli.options import (
    core_option,
    health_file_option,
    insecure_option,
    key_option,
    option,
    parent_option,
)
from cli.pulse import Pulse
from cli.security import Keys, check_security, client_key_of
from cli.stopping import StopFlag
from cli.version import versions
from cli.view import say
from wire.address import check_target
from worker.service import WorkerService
from worker.state import Identity

STABLE_CHARACTERS = 48  # of a name; the rest tells one process from another


@click.command()
@option("--connect", metavar="ADDRESS", required=True, help="The coordinator's tcp://host:port.")
@key_option
@option("--name", help="What the coordinator calls it; its key's or its host's name by default.")
@option(
    "--max-idle",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave after so long without a coordinator; by default, never.",
)
@core_option
@insecure_option
@health_file_option
@parent_option
def worker(
    connect: str,
    key: Path | None,
    name: str | None,
    max_idle: float | None,
    core: int | None,
    insecure: bool,
    health_file: Path | None,
    parent: int | None,
) -> int:
    """Join a run and compute gradients until it is done."""
    stop = StopFlag(parent)
    check_security(check_target(connect), insecure, say, Keys("--key", key))
    client_key = client_key_of(key)
    host = socket.gethostname()
    if max_idle is not None and math.isnan(max_idle):
        raise UsageError("expected a number of seconds, got nan — --max-idle")
    if name is not None and not re.fullmatch(r"[\w.-]{1,64}", name, re.ASCII):
        raise UsageError(
            f"expected a name of 1 to 64 letters, digits, - . _, got {name!r} — --name"
        )
    stay_on(core)
    key_name = "" if client_key is None else client_key.name
    identity = Identity(
        name=f"{(name or key_name or host)[:STABLE_CHARACTERS]}-{secrets.token_hex(4)}",
        host=host,
        pid=os.getpid(),
        versions=versions(),
    )
    with stop:
        service = WorkerService(
            identity,
            connect,
            client_key,
            max_idle,
            partial(make_engine, say=say),
            say,
            Pulse(health_file).beat,
        )
        outcome = service.serve(stop)
    if outcome.failure is not None:
        click.secho(f"gradflock: {outcome.failure}", fg="red", err=True)
        return errors.REFUSED if outcome.is_permanent else errors.FAILURE
    return stop.exit_code
