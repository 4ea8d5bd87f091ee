"""Messages to bytes and back: three frames, checked before anything believes them.

    digest    sha256 over header and payload, first 16 bytes
    header    msgpack map, flat, at most 1 KiB: "type" names the message, the rest are its fields
    payload   raw bytes, empty for most messages

TCP's checksum lets flipped bits through, so the digest is always checked. Everything a peer can
send either becomes a message of `wire.messages` with fields of the right types, or raises a
MalformedFrame; no other error leaves `decode`.

Source: msgpack's limits and their measured effects, msgpack-python's documentation of `unpackb`.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

import msgpack

from wire.errors import DigestMismatch, MalformedFrame, VersionMismatch
from wire.messages import PROTOCOL_VERSION, Hello, Message

HEADER_BYTES_MAX = 1024
DIGEST_BYTES = 16
INT_MAX = 2**63 - 1

_MESSAGES: dict[str, type[Any]] = {kind.__name__.upper(): kind for kind in get_args(Message)}
_FIELDS: dict[type[Any], dict[str, Any]] = {
    kind: {field.name: field.type for field in fields(kind) if field.name != "payload"}
    for kind in _MESSAGES.values()
}
_WITH_PAYLOAD = frozenset(
    kind for kind in _MESSAGES.values() if "payload" in kind.__dataclass_fields__
)


def encode(message: Message) -> list[bytes]:
    """Give a message as its three frames."""
    kind = type(message)
    values = {name: getattr(message, name) for name in _FIELDS[kind]}
    header = pack_map({"type": kind.__name__.upper(), **values})
    assert len(header) <= HEADER_BYTES_MAX, f"{kind.__name__} header of {len(header)} bytes"
    payload = getattr(message, "payload", b"")
    return [_digest(header, payload), header, payload]


def decode(frames: Sequence[bytes]) -> Message:
    """Read what `encode` wrote.

    Raises:
        MalformedFrame: the frames are not a message; DigestMismatch if they were damaged.
        VersionMismatch: a HELLO of another protocol version.
    """
    if len(frames) != 3:
        raise MalformedFrame(f"expected 3 frames, got {len(frames)}")
    digest, header, payload = frames
    if len(header) > HEADER_BYTES_MAX:
        raise MalformedFrame(
            f"expected a header of at most {HEADER_BYTES_MAX} bytes, got {len(header)}"
        )
    if digest != _digest(header, payload):
        raise DigestMismatch("expected the digest of header and payload, got another")
    values = unpack_map(header, HEADER_BYTES_MAX)
    kind = _MESSAGES.get(values.pop("type", None))
    if kind is None:
        raise MalformedFrame("expected a known message type, got another")
    version = values.get("v")
    if kind is Hello and type(version) is int and version != PROTOCOL_VERSION:
        raise VersionMismatch(version, PROTOCOL_VERSION)
    _check(kind, values)
    if kind in _WITH_PAYLOAD:
        return kind(**values, payload=payload)  # type: ignore[no-any-return]
    if payload:
        raise MalformedFrame(f"expected no payload with {kind.__name__}, got {len(payload)} bytes")
    return kind(**values)  # type: ignore[no-any-return]


def pack_map(values: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(values)
    return packed


def unpack_map(
    data: bytes, bytes_max: int, *, array_max: int = 0, is_flat: bool = True
) -> dict[str, Any]:
    """Read one msgpack map with string keys, within limits that keep small input small.

    Raises:
        MalformedFrame: the bytes are anything else.
    """
    try:
        values = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=bytes_max,
            max_bin_len=0,
            max_array_len=array_max,
            max_map_len=32,
            max_ext_len=0,
        )
    except ValueError:  # every error that msgpack has for hostile bytes is one
        raise MalformedFrame("expected a msgpack map, got other bytes") from None
    if not isinstance(values, dict) or not all(type(key) is str for key in values):
        raise MalformedFrame("expected a msgpack map with string keys, got another value")
    if is_flat and any(isinstance(value, dict | list) for value in values.values()):
        raise MalformedFrame("expected a flat msgpack map, got a nested one")
    return values


def _check(kind: type[Any], values: dict[str, Any]) -> None:
    expected = _FIELDS[kind]
    if values.keys() != expected.keys():
        raise MalformedFrame(f"expected the fields of {kind.__name__}, got others")
    for name, value_type in expected.items():
        value = values[name]
        if type(value) is not value_type:
            raise MalformedFrame(
                f"expected {value_type.__name__} for {kind.__name__}.{name},"
                f" got {type(value).__name__}"
            )
        low = -1 if name == "durable_step" else 0
        if value_type is int and not low <= value <= INT_MAX:
            raise MalformedFrame(
                f"expected {kind.__name__}.{name} from {low} to 2^63 - 1, got another"
            )
        # A loss may be NaN: that is how a worker says that training diverged.
        if value_type is float and name != "loss_sum" and not math.isfinite(value):
            raise MalformedFrame(f"expected a finite {kind.__name__}.{name}, got {value}")


def _digest(header: bytes, payload: bytes) -> bytes:
    hasher = hashlib.sha256(header)
    hasher.update(payload)
    return hasher.digest()[:DIGEST_BYTES]
