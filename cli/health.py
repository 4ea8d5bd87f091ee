"""`gradflock health`: whether a role that runs here is well, for container engines and the like."""

from pathlib import Path

import click

from cli.errors import RoleFailed
from cli.pulse import ill


@click.command()
@click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="GRADFLOCK_HEALTH_FILE",
)
def health(file: Path) -> None:
    """Say whether the role with --health-file FILE is well: its loop turns, its last save is fine.

    The exit code is 0 if it is, and 1 if not.
    """
    if complaint := ill(file):
        raise RoleFailed(complaint)
    click.echo("well")
