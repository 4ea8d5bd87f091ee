"""What a hostile or broken peer sends, from a seed: noise, near misses, lies that are well made.

One generator serves the decoder alone and the socket of a coordinator that trains.
"""

import math
import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import msgpack

from wire.codec import encode
from wire.digest import digest
from wire.messages import Message

KINDS: tuple[type[Any], ...] = get_args(Message)

INTS = (0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**32, 2**53, 2**63 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.0, 5e-324, 1e-300, 1e300, 1.7976931348623157e308)
TEXTS = ("", "w", "5f" * 16, "ab" * 32, "\x1b[2J", "\x00", "ä€😀", "../../etc", "%s{0}", "x" * 200)
PAYLOADS = (0, 1, 7, 8, 16, 3456, 33_536)  # bytes
# What no field holds.
FOREIGN: tuple[Any, ...] = (
    None,
    [],
    {},
    [1],
    {"a": 1},
    b"bytes",
    -(2**63),
    2**64 - 1,
    math.nan,
    math.inf,
)


def seal(header: bytes, payload: bytes = b"") -> list[bytes]:
    """Frames with the digest that belongs to them, as a hostile peer can make them."""
    return [digest(header, payload), header, payload]


def plausible(kind: type[Any], rng: random.Random, **known: Any) -> Any:
    """Give a message that the codec takes; fields that are not known are anybody's guess."""
    draw: dict[Any, Callable[[], Any]] = {
        int: lambda: rng.choice(INTS) if rng.random() < 0.7 else rng.randrange(2**63),
        float: lambda: rng.choice(FLOATS) if rng.random() < 0.7 else rng.uniform(-1e3, 1e3),
        str: lambda: rng.choice(TEXTS),
        bool: lambda: rng.random() < 0.5,
        bytes: lambda: rng.randbytes(rng.choice(PAYLOADS)),
    }
    drawn = {field.name: draw[field.type]() for field in fields(kind)}
    return kind(**{**drawn, **{name: known[name] for name in known if name in drawn}})


def hostile(rng: random.Random) -> list[bytes]:
    """Give the frames of one message that nobody of ours would send, or would not have sent."""
    message = plausible(rng.choice(KINDS), rng)
    digest, header, payload, *params = encode(message)
    match rng.randrange(7):
        case 0:
            return [_noise(rng) for _ in range(rng.choice((0, 1, 2, 3, 3, 3, 4, 30)))]
        case 1:
            return [digest, mutated(header, rng), payload, *params]
        case 2:
            return [digest, header, mutated(payload, rng), *params]
        case 3:
            return seal(_noise(rng), payload)
        case 4:
            return seal(mutated(header, rng), rng.choice((payload, b"", b"x")))
        case 5:
            return seal(_disfigured(header, rng), payload)
        case _:
            return [digest, header, payload, *params]


def mutated(frame: bytes, rng: random.Random) -> bytes:
    """Change, insert, delete or repeat a few bytes."""
    data = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if data:
                data[at % len(data)] = rng.randrange(256)
            case 1:
                data[at:at] = rng.randbytes(rng.randrange(1, 6))
            case 2:
                del data[at : at + rng.randrange(1, 6)]
            case 3:
                data[at:at] = data[: rng.randrange(len(data) + 1)][:2000]
    return bytes(data)


def _disfigured(header: bytes, rng: random.Random) -> bytes:
    """Change the map itself: a value of another type, a field too many, too few, or twice."""
    values = list(msgpack.unpackb(header).items())
    at = rng.randrange(len(values))
    name, _ = values[at]
    match rng.randrange(5):
        case 0:
            values[at] = (name, rng.choice(FOREIGN))
        case 1:
            values[at] = (name, rng.choice((*INTS, *FLOATS, *TEXTS, True)))
        case 2:
            del values[at]
        case 3:
            values.insert(at, (rng.choice((name, "extra", 5, None)), rng.choice(INTS)))
        case 4:
            values[at] = (rng.choice((7, b"key", "payload", "__class__")), 1)
    packer = msgpack.Packer()
    pairs = b"".join(packer.pack(key) + packer.pack(value) for key, value in values)
    return bytes(packer.pack_map_header(len(values))) + pairs


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 15, 16, 17, 80, 1024, 1025, 2000)))
