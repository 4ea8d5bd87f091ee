"""`gradflock serve`: answer whoever asks for names, from a run's newest checkpoint."""

from pathlib import Path

import click

import sampler
from cli.options import (
    SAMPLER_ADDRESS,
    address_file_option,
    bind_option,
    check_http,
    check_security,
    http_option,
    insecure_option,
    newest_run_dir,
    parent_option,
    run_dir_option,
    write_address,
)
from cli.stopping import StopFlag
from cli.version import VERSION
from cli.view import say
from sampler.http import HttpDoor
from sampler.observed import Observed
from sampler.service import SamplerService
from wire.address import check_address

PAGE = Path(sampler.__file__).with_name("page.html")


@click.command()
@run_dir_option
@bind_option
@http_option
@insecure_option
@address_file_option
@parent_option
def serve(
    run_dir: Path | None,
    bind: str | None,
    http: str,
    insecure: bool,
    address_file: Path | None,
    parent: int | None,
) -> int:
    """Serve samples over ZeroMQ and HTTP while the run in --run-dir (the newest if unsaid) goes on.

    HTTP is OpenAI-compatible, below /v1; a page for people is at /.
    """
    stop = StopFlag(parent)
    bind = check_address(bind or SAMPLER_ADDRESS)
    check_security(bind, insecure, say)
    where = check_http(http, insecure, say)
    run_dir = run_dir or newest_run_dir()

    def on_bound(address: str) -> None:
        write_address(address_file, address)
        say(f"sampler at {address}, following {run_dir}")

    def open_http(desk: SamplerService, observed: Observed) -> HttpDoor:
        assert where is not None
        door = HttpDoor(desk, observed, *where, PAGE.read_bytes(), VERSION)
        say(f"HTTP at {door.address}")
        return door

    with stop:
        service = SamplerService(run_dir, bind, say)
        service.serve(stop, on_bound, None if where is None else open_http)
    return stop.exit_code
