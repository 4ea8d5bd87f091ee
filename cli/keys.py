"""`gradflock keys`: who may join a run, or ask a sampler, from other machines."""

import json
from pathlib import Path

import click

from cli.options import option
from cli.view import say
from wire.keyring import Keyring, read_client_key, write_secret

directory_option = option(
    "--keys",
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
@click.option(
    "--if-missing",
    is_flag=True,
    help="Do nothing if FILE holds NAME's key, or if NAME was revoked; for scripts.",
)
def new(name: str, keys: Path, out: str | None, if_missing: bool) -> None:
    """Make a key pair for NAME, and let it in.

    The key file holds all that its owner needs. Carry it there on a safe way, one for each machine;
    whoever has it can join.
    """
    keyring = Keyring(keys)
    if out == STANDARD_OUTPUT:
        keyring.new(name, lambda key: click.echo(key.to_toml(), nl=False))
        return
    path = keys / f"{name}.key" if out is None else Path(out)
    if if_missing:
        _make_sure_of(keyring, name, path)
        return
    keyring.new(name, lambda key: write_secret(path, key.to_toml()))
    say(
        f"made {path}; take it to where it is used, and there:"
        f" gradflock worker --connect tcp://HOST:5555 --key {path.name}"
    )


def _make_sure_of(keyring: Keyring, name: str, path: Path) -> None:
    """Have a file hold a key of this name that is let in, unless the name was revoked.

    A start that was killed may have left a file that is not listed, a lost volume a name without
    its file: both are made anew.
    """
    public = {key.name: key.public for key in keyring.listed() if not key.is_revoked}.get(name)
    if path.exists():
        key = read_client_key(path)
        if key.name == name and key.public == public:
            say(f"{path} holds the key of {name}")
            return
        if key.name == name:
            path.unlink()
    made = keyring.make_anew(name, lambda key: write_secret(path, key.to_toml()))
    say(f"made {path}" if made else f"{name} was revoked; nothing is made")


@keys.command("list")
@directory_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_keys(keys: Path, as_json: bool) -> None:
    """List every key that was made: its name, whether it is let in, and its public half."""
    keyring = Keyring(keys)
    listed = keyring.known()
    for complaint in keyring.complaints:
        say(f"passed over a key: {complaint}")
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
def revoke(name: str, keys: Path) -> None:
    """Let NAME in no more, for good; its connections are cut within a second."""
    Keyring(keys).revoke(name)
    say(f"revoked {name}: whoever has its key is cut off, and nobody gets the name again")
