"""Messages to bytes and back: three frames, checked before anything believes them.

    digest    over header and payload, see wire.digest
    header    msgpack map, flat, at most 1 KiB: "type" names the message, the rest are its fields
    payload   raw bytes, empty for most messages

A TASK with parameters has them as a fourth frame, which is named by the `params_digest` of its
header: so it is digested once for all workers of a step.

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

from wire.digest import DIGEST_BYTES, params_digest
from wire.digest import digest as digest_of
from wire.errors import DigestMismatch, MalformedFrame, VersionMismatch
from wire.messages import PROTOCOL_VERSION, Hello, Message, Task

HEADER_BYTES_MAX = 1024
INT_MAX = 2**63 - 1
FRAMES = ("payload", "params")  # fields that are no part of the header

_MESSAGES: dict[str, type[Any]] = {kind.__name__.upper(): kind for kind in get_args(Message)}
_FIELDS: dict[type[Any], dict[str, Any]] = {
    kind: {field.name: field.type for field in fields(kind) if field.name not in FRAMES}
    for kind in _MESSAGES.values()
}
_NUMBERS: dict[type[Any], tuple[str, ...]] = {  # fields whose values have a range
    kind: tuple(name for name, value_type in expected.items() if value_type in (int, float))
    for kind, expected in _FIELDS.items()
}
_WITH_PAYLOAD = frozenset(
    kind for kind in _MESSAGES.values() if "payload" in kind.__dataclass_fields__
)


def encode(message: Message) -> list[bytes]:
    """Give a message as its frames."""
    kind = type(message)
    values = {name: getattr(message, name) for name in _FIELDS[kind]}
    header = pack_map({"type": kind.__name__.upper(), **values})
    assert len(header) <= HEADER_BYTES_MAX, f"{kind.__name__} header of {len(header)} bytes"
    payload = getattr(message, "payload", b"")
    frames = [digest_of(header, payload), header, payload]
    if isinstance(message, Task) and message.params:
        frames.append(message.params)
    return frames


def decode(frames: Sequence[bytes]) -> Message:
    """Read what `encode` wrote.

    Raises:
        MalformedFrame: the frames are not a message; DigestMismatch if they were damaged.
        VersionMismatch: a HELLO of another protocol version.
    """
    if len(frames) not in (3, 4):
        raise MalformedFrame(f"expected 3 frames, got {len(frames)}")
    digest, header, payload, *more = frames
    if len(header) > HEADER_BYTES_MAX:
        raise MalformedFrame(
            f"expected a header of at most {HEADER_BYTES_MAX} bytes, got {len(header)}"
        )
    if digest != digest_of(header, payload):
        if digest == hashlib.sha256(header + payload).digest()[:DIGEST_BYTES]:
            raise VersionMismatch(1, PROTOCOL_VERSION)  # whose digests were those
        raise DigestMismatch("expected the digest of header and payload, got another")
    values = unpack_map(header, HEADER_BYTES_MAX)
    kind = _MESSAGES.get(values.pop("type", None))
    if kind is None:
        raise MalformedFrame("expected a known message type, got another")
    version = values.get("v")
    if kind is Hello and type(version) is int and version != PROTOCOL_VERSION:
        raise VersionMismatch(version, PROTOCOL_VERSION)
    _check(kind, values)
    if more:
        values["params"] = _checked_params(kind, values, more[0])
    if kind in _WITH_PAYLOAD:
        return kind(**values, payload=payload)  # type: ignore[no-any-return]
    if payload:
        raise MalformedFrame(f"expected no payload with {kind.__name__}, got {len(payload)} bytes")
    return kind(**values)  # type: ignore[no-any-return]


def _checked_params(kind: type[Any], values: dict[str, Any], params: bytes) -> bytes:
    if kind is not Task:
        raise MalformedFrame(f"expected 3 frames with {kind.__name__}, got 4")
    if params_digest(params) != values["params_digest"]:
        raise DigestMismatch("expected the digest of the parameters, got another")
    return params


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
    if not isinstance(values, dict) or not {*map(type, values)} <= {str}:
        raise MalformedFrame("expected a msgpack map with string keys, got another value")
    if is_flat and not {dict, list}.isdisjoint(map(type, values.values())):
        raise MalformedFrame("expected a flat msgpack map, got a nested one")
    return values


def _check(kind: type[Any], values: dict[str, Any]) -> None:
    """Make sure that a header has the fields of its message, and no others.

    Raises:
        MalformedFrame: it has not.
    """
    expected = _FIELDS[kind]
    if values.keys() != expected.keys():
        raise MalformedFrame(f"expected the fields of {kind.__name__}, got others")
    if [type(values[name]) for name in expected] != [*expected.values()]:
        name = next(name for name in expected if type(values[name]) is not expected[name])
        raise MalformedFrame(
            f"expected {expected[name].__name__} for {kind.__name__}.{name},"
            f" got {type(values[name]).__name__}"
        )
    for name in _NUMBERS[kind]:
        value = values[name]
        if type(value) is int:
            low = -1 if name == "durable_step" else 0
            if not low <= value <= INT_MAX:
                raise MalformedFrame(
                    f"expected {kind.__name__}.{name} from {low} to 2^63 - 1, got another"
                )
        # A loss may be NaN: that is how a worker says that training diverged.
        elif not math.isfinite(value) and name != "loss_sum":
            raise MalformedFrame(f"expected a finite {kind.__name__}.{name}, got {value}")
