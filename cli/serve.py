"""`gradflock serve`: answer whoever asks for names, from a run's newest checkpoint."""

from pathlib import Path

import click

from cli.options import (
    SAMPLER_ADDRESS,
    address_file_option,
    bind_option,
    check_security,
    insecure_option,
    newest_run_dir,
    parent_option,
    run_dir_option,
    write_address,
)
from cli.stopping import StopFlag
from cli.view import say
from sampler.service import SamplerService
from wire.address import check_address


@click.command()
@run_dir_option
@bind_option
@insecure_option
@address_file_option
@parent_option
def serve(
    run_dir: Path | None,
    bind: str | None,
    insecure: bool,
    address_file: Path | None,
    parent: int | None,
) -> int:
    """Serve samples over ZeroMQ while the run in --run-dir (the newest by default) goes on."""
    stop = StopFlag(parent)
    bind = check_address(bind or SAMPLER_ADDRESS)
    check_security(bind, insecure, say)
    run_dir = run_dir or newest_run_dir()

    def on_bound(address: str) -> None:
        write_address(address_file, address)
        say(f"sampler at {address}, following {run_dir}")

    with stop:
        SamplerService(run_dir, bind, say).serve(stop, on_bound)
    return stop.exit_code
