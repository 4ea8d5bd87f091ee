"""CURVE keys as values: of the process that has an address, of whoever connects, and who may.

A key is 32 bytes, written as 40 characters of Z85. A key file is TOML, one table without a name; it
holds a secret, and whoever has it is that peer.

Source: ZeroMQ RFC 26 (CurveZMQ), RFC 32 (Z85).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self

from wire.errors import KeysError

NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")  # also a file's name, and a worker's
KEY_FORM = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
NAME_RULE = "1 to 48 letters, digits, - . _, a letter or digit first"


class _KeyFile:
    """What both kinds of key file share: fields that are strings, in TOML."""

    def to_toml(self) -> str:
        """Give the file's text; neither names nor keys have a character that needs escaping."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        return "".join(f'{name} = "{value}"\n' for name, value in named.items())

    @classmethod
    def from_toml(cls, text: str, where: str) -> Self:
        """Read a file's text.

        Args:
            where: the file, for people.

        Raises:
            KeysError: it is no key file of this kind.
        """
        names = [one.name for one in fields(cls)]  # type: ignore[arg-type]
        try:
            read = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            read = {}
        for name in names:
            form = NAME_FORM if name == "name" else KEY_FORM
            if not isinstance(read.get(name), str) or not form.fullmatch(read[name]):
                raise KeysError(
                    f"expected a key file with {', '.join(names)}, got one without a valid {name}"
                    f" — {where}; copy it again, or make a new one: gradflock keys new"
                )
        return cls(**{name: read[name] for name in names})


@dataclass(frozen=True, slots=True)
class ServerKey(_KeyFile):
    """The key pair of a process that others connect to; `public` is in each of their key files."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKey(_KeyFile):
    """All that a process needs to connect: its own key pair, and whom it expects at the other end.

    Attributes:
        name: under which the server's allowlist has it.
        server: the server's public key.
    """

    name: str
    public: str
    server: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Allowlist:
    """Whose keys are let in, and whose no longer: public key -> name."""

    allowed: Mapping[str, str]
    revoked: Mapping[str, str]

    def objection(self, key: str) -> str:
        """Say what is wrong with who has this public key; empty if nothing is."""
        if name := self.revoked.get(key):
            return f"has a key that was revoked, {name!r}"
        return "" if key in self.allowed else f"has a key that is not in the allowlist, {key}"

    def name_of(self, key: str) -> str:
        """Give the name of a key, for people, whatever became of it."""
        return self.allowed.get(key) or self.revoked.get(key) or key
