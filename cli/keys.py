"""`gradflock keys`: who may join a run, or ask a sampler, from other machines."""

import json
from pathlib import Path

import click

from cli.options import option
from cli.view import say
from wire.keyring import Keyring, write_secret

directory_option = option(
    "--keys",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    default="keys",
    show_default=True,
    help="Where they are.",
)
STANDARD_OUTPUT = "-"


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of workers, and of whoever asks a sampler.

    A coordinator or sampler started with --keys DIR lets in only who has a key of DIR. It need not
    be started again when one is made or revoked.
    """


@keys.command()
@click.argument("name")
@directory_option
@click.option("--out", metavar="FILE|-", help="Where the key file goes; DIR/NAME.key by default.")
@click.option("--if-missing", is_flag=True, help="Do nothing if NAME has a key, or had one.")
def new(name: str, directory: Path, out: str | None, if_missing: bool) -> None:
    """Make a key pair for NAME, and let it in.

    The key file holds all that its owner needs. Carry it there on a safe way, one for each machine;
    whoever has it is NAME.
    """
    keyring = Keyring(directory)
    known = {key.name: key for key in keyring.listed()}
    if if_missing and name in known:
        say(f"{name} {'was revoked' if known[name].is_revoked else 'has a key'}; nothing is made")
        return
    if out == STANDARD_OUTPUT:
        keyring.new(name, lambda key: click.echo(key.to_toml(), nl=False))
        return
    path = directory / f"{name}.key" if out is None else Path(out)
    keyring.new(name, lambda key: write_secret(path, key.to_toml()))
    then = f"gradflock worker --connect tcp://HOST:5555 --key {path.name}"
    say(
        f"made {path}" + ("" if if_missing else f"; take it to where it is used, and there: {then}")
    )


@keys.command("list")
@directory_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_keys(directory: Path, as_json: bool) -> None:
    """List every key that was made: its name, whether it is let in, and its public half."""
    listed = Keyring(directory).listed()
    if as_json:
        values = [
            {"name": key.name, "public": key.public, "revoked": key.is_revoked} for key in listed
        ]
        click.echo(json.dumps(values))
        return
    width = max((len(key.name) for key in listed), default=0)
    for key in listed:
        state = "revoked" if key.is_revoked else "allowed"
        click.echo(f"{key.name:{width}}  {state}  {key.public}")


@keys.command()
@click.argument("name")
@directory_option
def revoke(name: str, directory: Path) -> None:
    """Let NAME in no more, for good; its connections are cut within a second."""
    Keyring(directory).revoke(name)
    say(f"revoked {name}: whoever has its key is cut off, and nobody gets the name again")
