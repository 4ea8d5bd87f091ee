"""The `gradflock` command: its groups, its configuration file, and how errors end."""

import sys
import tomllib
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from cli import errors
from cli.version import VERSION

COMMANDS = {  # name -> where it is; what one of them imports, another need not wait for
    "train": "cli.train:train",
    "coordinator": "cli.coordinator:coordinator",
    "worker": "cli.worker:worker",
    "serve": "cli.serve:serve",
    "sample": "cli.sample:sample",
    "status": "cli.status:status",
    "dashboard": "cli.dashboard:dashboard",
    "keys": "cli.keys:keys",
    "health": "cli.health:health",
    "checkpoint": "cli.checkpoint:checkpoint",
    "plot": "cli.plot:plot",
    "tensorboard": "cli.tensorboard:tensorboard",
    "explain": "cli.explain:explain",
    "doctor": "cli.doctor:doctor",
    "compile": "cli.compile:compile_kernels",
    "bench": "cli.bench:bench",
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="GRADFLOCK_CONFIG",
    help="TOML file of defaults: steps = 200 for every command, or in a table [train] for one.",
)
@click.version_option(VERSION, prog_name="gradflock")
@click.pass_context
def gradflock(ctx: click.Context, config: Path | None) -> None:
    """Train microgpt with a flock of workers, and sample it while it learns."""
    if config is not None:
        ctx.default_map = _read_config(ctx, config)


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
    except OSError as error:
        where = f" — {error.filename}" if error.filename else ""
        text = f"gradflock: expected to read and write files, got {error.strerror or error}{where}"
        click.secho(text, fg="red", err=True)
        sys.exit(errors.FAILURE)
    sys.exit(code if isinstance(code, int) else errors.DONE)


def _read_config(ctx: click.Context, path: Path) -> dict[str, dict[str, Any]]:
    """Give the defaults of each command: what stands on top for all, its own table over that.

    `bind` is no default for all: coordinator and sampler cannot share an address.
    """
    try:
        read = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"expected a TOML file, got {error} — {path}") from None
    found = {name: gradflock.get_command(ctx, name) for name in COMMANDS}
    commands = {name: command for name, command in found.items() if command is not None}
    known = {name for command in commands.values() for name in _flags_of(command)} - {"bind"}
    tables = {  # `keys` is a command, and also a flag of others
        name: value
        for name, value in read.items()
        if name in commands and (name not in known or isinstance(value, dict))
    }
    everywhere = {name: value for name, value in read.items() if name not in tables}
    defaults: dict[str, dict[str, Any]] = {
        name: _check_table(path, everywhere, known) for name in commands
    }
    defaults["dashboard"].pop("http", None)  # the sampler's: two servers cannot share an address
    defaults["sample"].pop("seed", None)  # a run's seed would draw the same names every time
    for name, command in commands.items():
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise errors.UsageError(f"expected a table [{name}], got {table!r} — {path}")
        said = {**defaults[name], **_check_table(path, table, _flags_of(command))}
        defaults[name] = said
        if isinstance(command, click.Group):  # what is no flag of its own is of its commands
            own = {param.name for param in command.params}
            theirs = {flag: value for flag, value in said.items() if flag not in own}
            defaults[name] = said | dict.fromkeys(command.commands, theirs)
    return defaults


def _flags_of(command: click.Command) -> set[str | None]:
    """Give the names of a command's flags, or of those that the commands of a group have."""
    commands = [command]
    if isinstance(command, click.Group):
        commands += command.commands.values()
    return {
        param.name for one in commands for param in one.params if isinstance(param, click.Option)
    }


def _check_table(
    path: Path, table: dict[str, Any], known: Collection[str | None]
) -> dict[str, str]:
    checked = {}
    for name, value in table.items():
        flag = name.replace("-", "_")
        if flag not in known or not isinstance(value, str | int | float):
            raise errors.UsageError(f"expected a flag and its value, got {name} = {value} — {path}")
        checked[flag] = str(value)
    return checked
