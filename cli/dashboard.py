"""`gradflock dashboard`: the live page of a training."""

from pathlib import Path

import click

import dashboard as package
from cli.errors import UsageError
from cli.options import (
    DASHBOARD_ADDRESS,
    address_file_option,
    insecure_option,
    newest_run_dir,
    parent_option,
    run_dir_option,
    write_address,
)
from cli.security import check_http
from cli.stopping import StopFlag
from cli.version import VERSION
from cli.view import say
from dashboard.http import HttpDoor
from dashboard.service import DashboardService

PAGE = Path(package.__file__).with_name("page.html")


@click.command()
@run_dir_option
@click.option(
    "--http",
    envvar="GRADFLOCK_DASHBOARD_HTTP",  # GRADFLOCK_HTTP is the sampler's
    metavar="HOST:PORT",
    default=DASHBOARD_ADDRESS,
    show_default=True,
    help="Where the page is; port 0 takes a free one.",
)
@insecure_option
@address_file_option
@parent_option
def dashboard(
    run_dir: Path | None,
    http: str,
    insecure: bool,
    address_file: Path | None,
    parent: int | None,
) -> int:
    """Show the training in --run-dir (the newest if unsaid) on a live page.

    It need not run yet, and may end and go on. /metrics is for Prometheus, /api/state for scripts.
    """
    stop = StopFlag(parent)
    where = check_http(http, insecure, say)
    if where is None:
        raise UsageError(f"expected host:port, got {http!r} — --http; give {DASHBOARD_ADDRESS}")
    run_dir = run_dir or newest_run_dir()

    def open_door(service: DashboardService) -> HttpDoor:
        door = HttpDoor(service, *where, PAGE.read_bytes(), VERSION)
        write_address(address_file, door.address)
        say(f"dashboard at {door.address}, following {run_dir}")
        return door

    with stop:
        DashboardService(run_dir).serve(stop, open_door)
    return stop.exit_code
