"""`gradflock serve`: answer whoever asks for names, from a run's newest checkpoint."""

from pathlib import Path

import click

import sampler
from cli.options import (
    SAMPLER_ADDRESS,
    address_file_option,
    bind_option,
    health_file_option,
    http_option,
    insecure_option,
    keys_option,
    newest_run_dir,
    option,
    parent_option,
    run_dir_option,
    write_address,
)
from cli.pulse import Pulse
from cli.security import check_api_key, check_http, doorkeeper_of
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
@option(
    "--api-key",
    metavar="KEY",
    help="What HTTP below /v1 asks for, as a Bearer token. The variable GRADFLOCK_API_KEY keeps it"
    " out of sight of who lists processes.",
)
@keys_option
@insecure_option
@address_file_option
@health_file_option
@parent_option
def serve(
    run_dir: Path | None,
    bind: str | None,
    http: str,
    api_key: str | None,
    keys: Path | None,
    insecure: bool,
    address_file: Path | None,
    health_file: Path | None,
    parent: int | None,
) -> int:
    """Serve samples over ZeroMQ and HTTP while the run in --run-dir (the newest if unsaid) goes on.

    HTTP is OpenAI-compatible, below /v1; a page for people is at /.
    """
    stop = StopFlag(parent)
    bind = check_address(bind or SAMPLER_ADDRESS)
    # --insecure may be there for the sake of HTTP, which has no keys.
    keeper = doorkeeper_of(bind, keys, insecure and keys is None, say)
    where = check_http(http, insecure, say)
    check_api_key(api_key)
    if keys is not None and where is not None and api_key is None:
        say("HTTP asks for no key, the socket does: give --api-key as well, or --http off")
    if keys is None and api_key is not None:
        say("the socket asks for no key, HTTP does: give --keys as well, or keep it on loopback")
    run_dir = run_dir or newest_run_dir()

    def on_bound(address: str) -> None:
        write_address(address_file, address)
        say(f"sampler at {address}, following {run_dir}")

    def open_http(desk: SamplerService, observed: Observed) -> HttpDoor:
        assert where is not None
        door = HttpDoor(desk, observed, *where, PAGE.read_bytes(), VERSION, api_key)
        say(f"HTTP at {door.address}")
        return door

    with stop:
        service = SamplerService(run_dir, bind, keeper, say, Pulse(health_file).beat)
        service.serve(stop, on_bound, None if where is None else open_http)
    return stop.exit_code
