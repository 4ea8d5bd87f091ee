"""ZMTP 3 by hand, for peers that no library would let us be.

Source: rfc.zeromq.org/spec/23 (ZMTP 3.0): greeting, READY command, frames with their flags.
"""

MORE, LONG, COMMAND = 1, 2, 4


def greeting(mechanism: bytes = b"NULL") -> bytes:
    """Give the 64 bytes that each end begins with."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


def ready(socket_type: bytes) -> bytes:
    """Give the command that ends the handshake of the NULL mechanism."""
    value = len(socket_type).to_bytes(4, "big") + socket_type
    return frame(b"\x05READY\x0bSocket-Type" + value, COMMAND)


def frame(body: bytes, flags: int = 0) -> bytes:
    """Give a frame; MORE says that its message goes on."""
    if len(body) > 255:
        return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body
