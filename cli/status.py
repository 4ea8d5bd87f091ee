"""`gradflock status`: how a run stands, from its coordinator."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from cli import status_text
from cli.asking import Door, ask
from cli.errors import RoleFailed, UsageError
from cli.options import newest_run_dir, option, run_dir_option
from cli.view import say
from coordinator.run_directory import RunDirectory
from coordinator.status import Status, from_json, to_json
from coordinator.status_door import STATUS
from wire.address import check_target
from wire.errors import TransportError

ADDRESS_FILE = "status.address"  # in a run's directory, while its coordinator runs
CONNECT_S = 1.5  # the coordinator is on this machine; a stopped one leaves connections unanswered
ANSWER_S = 10.0  # a save on a slow disk may be under way
WATCH_S = 1.0  # from one look to the next
REMEDY = "start it with gradflock train or coordinator"


@click.command()
@run_dir_option
@option("--connect", metavar="ADDRESS", help="A coordinator's status door, tcp://host:port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--watch", is_flag=True, help="Look again every second, until its coordinator is gone."
)
def status(run_dir: Path | None, connect: str | None, as_json: bool, watch: bool) -> None:
    """Say how a run stands (by default the newest under ./runs), and who works on it.

    RANK is a worker's place among those that are ready, WORLD_SIZE their number.
    """
    if connect is not None and run_dir is not None:
        raise UsageError("expected --connect or --run-dir, got both — give one of them")
    if connect is not None:
        check_target(connect)
    else:
        run_dir = run_dir or newest_run_dir()
    seen = looks(run_dir, connect, watch)
    if as_json or not sys.stdout.isatty():
        for one in seen:
            click.echo(to_json(one) if as_json else status_text.plain(one) + "\n" * watch)
    elif watch:
        with Live(console=Console()) as live:
            for one in seen:
                live.update(status_text.rich(one, live.console.width), refresh=True)
    else:
        console = Console()
        console.print(status_text.rich(next(seen), console.width))


def looks(run_dir: Path | None, connect: str | None, watch: bool) -> Iterator[Status]:
    """Give how a run stands, once, or again and again until its coordinator is gone.

    Raises:
        RoleFailed, StatusUnreadable: see `look`.
    """
    yield look(run_dir, connect)
    while watch:
        time.sleep(WATCH_S)
        try:
            yield look(run_dir, connect)
        except RoleFailed as error:
            say(f"no longer: {error}")
            return


def look(run_dir: Path | None, connect: str | None) -> Status:
    """Ask the coordinator of a run directory, or the one at an address.

    Raises:
        RoleFailed: there is none, or it does not answer.
        StatusUnreadable: what answers is no coordinator's status.
    """
    where = connect or str(run_dir)
    address = connect or _address_of(Path(where))
    door = Door(address, "a running coordinator", where, REMEDY, CONNECT_S, ANSWER_S)
    seen = from_json(ask(door, [STATUS])[-1])
    if connect is None:
        _check_run(Path(where), seen)
    return seen


def _address_of(run_dir: Path) -> str:
    try:
        return check_target((run_dir / ADDRESS_FILE).read_text().strip())
    except (OSError, UnicodeDecodeError, TransportError):
        raise _nobody(run_dir) from None


def _check_run(run_dir: Path, seen: Status) -> None:
    """Make sure that the address a run has left behind was not taken by another run's door."""
    checkpoint, _ = RunDirectory(run_dir).checkpoints.newest()
    if checkpoint is not None and checkpoint.run != seen.run:
        raise _nobody(run_dir)


def _nobody(run_dir: Path) -> RoleFailed:
    return RoleFailed(f"expected a running coordinator, got none — {run_dir}; {REMEDY}")
