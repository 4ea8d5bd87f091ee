"""What TCP knows and ZeroMQ does not say: whether a port is free, and who is at the other end.

A connection is named by its file descriptor, which belongs to libzmq: it is looked at through a
copy, and never closed here. One that has ended meanwhile may have given its number to another.
"""

import errno
import os
import socket
from contextlib import suppress

from wire.address import check_address
from wire.errors import AddressInUse, TransportError


def check_free(address: str) -> None:
    """Make sure that an address could be bound, without ever accepting a connection on it.

    Raises:
        AddressInUse: another process has the address.
        TransportError: the address is not one of this machine's, or not an address.
    """
    host, _, port = check_address(address).removeprefix("tcp://").rpartition(":")
    host, port = host.strip("[]").replace("*", "0.0.0.0"), port.replace("*", "0")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(address) from None
        raise not_of_this_machine(address, error.strerror or str(error)) from None


def not_of_this_machine(address: str, reason: str) -> TransportError:
    """Give the error for an address that cannot be bound."""
    return TransportError(
        f"expected an address of this machine, got {address!r} ({reason})"
        " — bind; give one of its own, or 127.0.0.1"
    )


def peer_address(connection: int) -> str:
    """Give where a connection comes from; empty if it has ended."""
    try:
        with socket.socket(fileno=os.dup(connection)) as theirs:
            return str(theirs.getpeername()[0])
    except OSError:
        return ""


def hang_up(connection: int) -> None:
    """End a connection, whoever reads or writes it."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection)) as theirs:
        theirs.shutdown(socket.SHUT_RDWR)
