"""Which sockets may be open to others, and with whose keys.

Loopback may be plain; any other address needs keys, or somebody who says that it does not.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UsageError
from cli.options import HTTP_OFF
from wire.address import check_address, is_loopback
from wire.doorkeeper import Doorkeeper
from wire.errors import TransportError
from wire.keyring import read_client_key
from wire.keys import ClientKey

API_KEY_VARIABLE = "GRADFLOCK_API_KEY"


@dataclass(frozen=True, slots=True)
class Keys:
    """A flag that names keys, and what was said; None if nothing was."""

    flag: str
    path: Path | None


def check_security(
    address: str, insecure: bool, warn: Callable[[str], None], keys: Keys | None = None
) -> None:
    """Refuse a plain connection on an address that others can reach, unless it is asked for.

    Args:
        keys: the flag that would encrypt it, and what it says; None where no flag can.

    Raises:
        UsageError: it is not, or keys and plainness are both asked for.
    """
    if keys is not None and keys.path is not None:
        if insecure:
            raise UsageError(
                f"expected {keys.flag} or --insecure, got both — {address}; leave one of them out"
            )
        return
    if is_loopback(address):
        return
    if not insecure:
        remedy = "" if keys is None else f"give {keys.flag} (see gradflock keys new), or "
        raise UsageError(
            f"expected an address of this machine alone, got {address}"
            f" — connections are not encrypted; {remedy}add --insecure if the network is trusted"
        )
    warn(f"warning: {address} is plain: whoever reaches it can read and send anything")


def check_http(
    address: str, insecure: bool, warn: Callable[[str], None], flag: str = "--http"
) -> tuple[str, int] | None:
    """Give host and port of an HTTP door; None if there is to be none.

    Raises:
        UsageError: it is no address, or one that others can reach and nobody allowed that.
    """
    if address == HTTP_OFF:
        return None
    try:
        check_security(check_address(f"tcp://{address}"), insecure, warn)
    except TransportError:
        raise UsageError(
            f"expected host:port or off, got {address!r} — {flag}; give 127.0.0.1:8000"
        ) from None
    host, _, port = address.rpartition(":")
    return host.strip("[]").replace("*", "0.0.0.0"), int(port)


def doorkeeper_of(
    address: str, keys: Path | None, insecure: bool, warn: Callable[[str], None]
) -> Doorkeeper | None:
    """Give what watches the keys of a socket that is to be bound; None leaves it plain.

    Raises:
        UsageError: it may not be plain, or is to be both.
        KeysError: the directory's keys cannot be used.
    """
    check_security(address, insecure, warn, Keys("--keys", keys))
    return None if keys is None else Doorkeeper(keys, warn)


def check_api_key(key: str | None) -> None:
    """Make sure that an API key can be one; one that is set and empty would open the door.

    Args:
        key: from the flag, or from the variable where that says anything.

    Raises:
        UsageError: it cannot.
    """
    said = os.environ.get(API_KEY_VARIABLE) if key is None else key
    if said is not None and not re.fullmatch(r"[!-~]{1,512}", said):
        raise UsageError(
            "expected an API key of 1 to 512 ASCII characters without spaces, got"
            f" {'none' if not said.strip() else 'another'} — --api-key or {API_KEY_VARIABLE};"
            " give one, or unset the variable"
        )


def client_key_of(key: Path | None) -> ClientKey | None:
    """Read a key file, if one was named.

    Raises:
        KeysError: it cannot be used.
    """
    return None if key is None else read_client_key(key)
