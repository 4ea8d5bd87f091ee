"""The `gradflock` command: its groups, its configuration file, and how errors end."""

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import errors
from cli.coordinator import coordinator
from cli.sample import sample
from cli.serve import serve
from cli.train import train
from cli.version import VERSION
from cli.worker import worker

COMMANDS = (train, coordinator, worker, serve, sample)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="GRADFLOCK_CONFIG",
    help="TOML file of defaults: flags without dashes, like steps = 200.",
)
@click.version_option(VERSION, prog_name="gradflock")
@click.pass_context
def gradflock(ctx: click.Context, config: Path | None) -> None:
    """Train microgpt with a flock of workers, and sample it while it learns."""
    if config is not None:
        values = _read_config(config)
        ctx.default_map = {command.name: values for command in COMMANDS if command.name}


for _command in COMMANDS:
    gradflock.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error of ours ends in one line and its exit code."""
    try:
        code = gradflock.main(args=arguments, prog_name="gradflock", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(errors.INTERRUPTED)
    except errors.OUR_ERRORS as error:
        click.secho(f"gradflock: {error}", fg="red", err=True)
        sys.exit(errors.exit_code(error))
    sys.exit(code if isinstance(code, int) else errors.DONE)


def _read_config(path: Path) -> dict[str, Any]:
    known = {param.name for command in COMMANDS for param in command.params}
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"expected a TOML file, got {error} — {path}") from None
    values = {name.replace("-", "_"): value for name, value in values.items()}
    stranger = next((name for name in values if name not in known), None)
    if stranger is not None:
        raise errors.UsageError(f"expected the name of a flag, got {stranger!r} — {path}")
    return values
