"""Addresses as people type them: tcp://host:port."""

import ipaddress
import re

from wire.errors import TransportError

_TCP = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5}|\*)")


def check_address(address: str) -> str:
    """Give the address back if it has the form that sockets take.

    Raises:
        TransportError: it has not.
    """
    match = _TCP.fullmatch(address)
    if match is None or (match["port"] != "*" and int(match["port"]) > 65_535):
        raise TransportError(
            f"expected an address like tcp://127.0.0.1:5555, got {address!r}"
            " — command line; give a host and a port"
        )
    return address


def check_target(address: str) -> str:
    """Give the address back if it is one to connect to.

    Raises:
        TransportError: it is not: it has another form, or leaves the host or port open.
    """
    check_address(address)
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if host == "*" or port == "*" or int(port) == 0:
        raise TransportError(
            f"expected a host and a port to connect to, got {address!r}"
            " — command line; give both, like tcp://127.0.0.1:5555"
        )
    return address


def is_loopback(address: str) -> bool:
    """Say whether only this machine can reach the address."""
    match = _TCP.fullmatch(address)
    assert match is not None, "the address has been checked"
    host = match["host"].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
