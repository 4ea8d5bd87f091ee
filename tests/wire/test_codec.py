"""Whatever bytes arrive become a message with fields of the right types, or one error of ours."""

import hashlib
import math
import tracemalloc
from dataclasses import fields, replace
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.hostile import seal
from wire.codec import HEADER_BYTES_MAX, decode, encode
from wire.digest import digest as digest_of
from wire.digest import params_digest
from wire.errors import DigestMismatch, MalformedFrame, VersionMismatch
from wire.messages import (
    PROTOCOL_VERSION,
    Bye,
    Cancel,
    Grad,
    Hello,
    Message,
    Ping,
    Ready,
    Refuse,
    Task,
    Welcome,
)

pytestmark = pytest.mark.unit

RUN = "5f" * 16
PING = {"type": "PING", "run": RUN, "gen": 1, "sid": 7, "t": 2.5}
HELLO = {"type": "HELLO", "v": 2, "name": "w", "host": "h", "pid": 1, "versions": ""}
REFUSE = {"type": "REFUSE", "code": "CONFIG", "text": "", "permanent": True}
PARAMS = bytes(range(16))
TASK = Task(RUN, 2, 3, 118, 4, 6, 9, params_digest(PARAMS), 2, b"\x01\x02\x03", PARAMS)
GRAD = Grad(RUN, 2, 3, 118, 4, 6, 9, "ab" * 16, 3.25, 0.25, 0.5, bytes(range(24)))


def sealed(values: dict[Any, Any], payload: bytes = b"") -> list[bytes]:
    return seal(msgpack.packb(values), payload)


def messages() -> st.SearchStrategy[Message]:
    by_type = {
        int: st.integers(0, 2**63 - 1),
        str: st.text(max_size=24),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bytes: st.binary(max_size=64),
    }
    of_name = {
        (Hello, "v"): st.just(PROTOCOL_VERSION),
        (Bye, "durable_step"): st.integers(-1, 2**63 - 1),
    }
    drawn = st.one_of(
        *(
            st.builds(
                kind,
                **{
                    field.name: of_name.get((kind, field.name), by_type[field.type])
                    for field in fields(kind)
                },
            )
            for kind in get_args(Message)
        )
    )
    return drawn.map(named)


def named(message: Message) -> Message:
    """Give parameters the name that is theirs."""
    if isinstance(message, Task) and message.params:
        return replace(message, params_digest=params_digest(message.params))
    return message


# ---- what we send is what arrives ---------------------------------------------------------------


@given(messages())
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


def test_a_message_is_digest_header_and_payload() -> None:
    digest, header, payload = encode(Cancel(RUN, 1, 7, 3))

    assert digest == digest_of(header, b"")
    assert msgpack.unpackb(header) == {"type": "CANCEL", "run": RUN, "gen": 1, "sid": 7, "lease": 3}
    assert payload == b""


def test_a_payload_is_a_frame_of_its_own_and_under_the_digest() -> None:
    digest, header, payload = encode(GRAD)

    assert payload == bytes(range(24))
    assert digest == digest_of(header + payload, b"")
    assert b"payload" not in header


def test_parameters_are_a_frame_of_their_own_that_the_header_names() -> None:
    digest, header, payload, params = encode(TASK)

    assert params == PARAMS
    assert digest == digest_of(header, payload)
    assert msgpack.unpackb(header)["params_digest"] == params_digest(PARAMS)
    assert encode(replace(TASK, params=b"")) == [digest, header, payload]


def test_parameters_that_are_not_what_their_digest_says_are_refused() -> None:
    frames = encode(replace(TASK, params_digest="ab" * 16))

    with pytest.raises(DigestMismatch, match="parameters"):
        decode(frames)


def test_parameters_with_a_message_that_has_none_are_refused() -> None:
    with pytest.raises(MalformedFrame, match="expected 3 frames with Grad, got 4"):
        decode([*encode(GRAD), PARAMS])


@pytest.mark.parametrize("loss", [math.inf, -math.inf])
def test_a_loss_that_is_infinite_arrives(loss: float) -> None:
    assert decode(encode(Grad(RUN, 1, 1, 0, 0, 1, 1, "", loss, 0.0, 0.5))).loss_sum == loss


def test_a_loss_that_is_not_a_number_arrives() -> None:
    assert math.isnan(decode(encode(Grad(RUN, 1, 1, 0, 0, 1, 1, "", math.nan, 0.0, 0.5))).loss_sum)


def test_a_header_of_the_greatest_size_arrives() -> None:
    empty = len(encode(Refuse("", "", True))[1])
    text = "x" * (HEADER_BYTES_MAX - empty - 2)  # a long string's length takes two bytes more
    message = Refuse("", text, True)

    frames = encode(message)

    assert len(frames[1]) == HEADER_BYTES_MAX
    assert decode(frames) == message


# ---- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Ping(RUN, 1, 7, 2.5), TASK], ids=["ping", "task"])
def test_every_single_flipped_bit_is_noticed(message: Message) -> None:
    frames = encode(message)

    for which, frame in enumerate(frames):
        for bit in range(8 * len(frame)):
            flipped = bytearray(frame)
            flipped[bit // 8] ^= 1 << bit % 8
            damaged = [*frames[:which], bytes(flipped), *frames[which + 1 :]]
            with pytest.raises(DigestMismatch):
                decode(damaged)


def test_a_truncated_digest_is_noticed() -> None:
    digest, header, payload = encode(GRAD)

    with pytest.raises(DigestMismatch):
        decode([digest[:15], header, payload])


def test_a_byte_moved_from_payload_to_header_is_noticed() -> None:
    """The digest runs over both without a seam: the header must be read to its very end."""
    digest, header, payload = encode(GRAD)

    with pytest.raises(MalformedFrame):
        decode([digest, header + payload[:1], payload[1:]])


@pytest.mark.parametrize("count", [0, 1, 2, 5, 100])
def test_another_number_of_frames_is_refused(count: int) -> None:
    with pytest.raises(MalformedFrame, match=f"expected 3 frames, got {count}"):
        decode((encode(GRAD) * 34)[:count])


def test_a_header_of_more_than_a_kibibyte_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="at most 1024 bytes, got 1025"):
        decode(seal(b"\x80" * 1025))


# ---- headers that are no message ----------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc1", id="never used by msgpack"),
        pytest.param(b"\x81", id="map that ends early"),
        pytest.param(msgpack.packb(PING)[:-1], id="message that ends early"),
        pytest.param(msgpack.packb(PING) + b"\x00", id="message with a tail"),
        pytest.param(msgpack.packb([1, 2]), id="array"),
        pytest.param(msgpack.packb([]), id="empty array"),
        pytest.param(msgpack.packb(None), id="nil"),
        pytest.param(msgpack.packb(5), id="integer"),
        pytest.param(msgpack.packb("PING"), id="string"),
        pytest.param(b"\x81\xa4type\xa4P\xff\xffG", id="string that is not UTF-8"),
        pytest.param(msgpack.packb({1: 2}), id="integer as key"),
        pytest.param(msgpack.packb({b"type": "PING"}), id="bytes as key"),
        pytest.param(msgpack.packb({**PING, "t": b"x"}), id="bytes as value"),
        pytest.param(msgpack.packb({**PING, "t": msgpack.ExtType(5, b"x")}), id="extension"),
        pytest.param(msgpack.packb({**PING, "t": msgpack.Timestamp(1)}), id="timestamp"),
        pytest.param(msgpack.packb({f"{i}": i for i in range(33)}), id="map of 33"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="map of 2^32 - 1"),
        pytest.param(b"\x81\xa4type\xdd\xff\xff\xff\xff", id="array of 2^32 - 1"),
        pytest.param(b"\x81\xa4type\xdb\xff\xff\xff\xff", id="string of 2^32 - 1"),
        pytest.param(b"\x81\xa4type\xc6\xff\xff\xff\xff", id="bytes of 2^32 - 1"),
        pytest.param(b"\x81\xa4type\xc9\xff\xff\xff\xff\x05", id="extension of 2^32 - 1"),
        pytest.param(b"\x81\xa1a" * 300 + b"\xc0", id="maps 300 deep"),
        pytest.param(b"\x91" * 1024, id="arrays 1024 deep"),
    ],
)
def test_a_header_that_is_no_flat_map_is_refused(header: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(MalformedFrame):
        decode(seal(header))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 200_000


@pytest.mark.parametrize("value", [{}, {"a": 1}, []])
def test_a_nested_value_is_refused(value: Any) -> None:
    with pytest.raises(MalformedFrame, match="flat"):
        decode(sealed({**PING, "t": value}))


@pytest.mark.parametrize("kind", ["PANG", "ping", "Ping", "", None, 1, True, math.nan])
def test_an_unknown_type_is_refused(kind: Any) -> None:
    with pytest.raises(MalformedFrame, match="known message type"):
        decode(sealed({**PING, "type": kind}))


def test_a_message_without_a_type_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="known message type"):
        decode(sealed({"run": RUN, "gen": 1, "sid": 7, "t": 2.5}))


@pytest.mark.parametrize("name", ["run", "gen", "sid", "t"])
def test_a_missing_field_is_refused(name: str) -> None:
    values = {key: value for key, value in PING.items() if key != name}

    with pytest.raises(MalformedFrame, match="fields of Ping"):
        decode(sealed(values))


@pytest.mark.parametrize("name", ["x", "payload", "__class__"])
def test_a_field_too_many_is_refused(name: str) -> None:
    with pytest.raises(MalformedFrame, match="fields of Ping"):
        decode(sealed({**PING, name: 1}))


def test_a_payload_in_the_header_is_refused() -> None:
    header = msgpack.unpackb(encode(TASK)[1])

    with pytest.raises(MalformedFrame, match="fields of Task"):
        decode(sealed({**header, "payload": ""}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**PING, "gen": True}, "expected int for Ping.gen, got bool"),
        ({**PING, "gen": 1.0}, "expected int for Ping.gen, got float"),
        ({**PING, "gen": "1"}, "expected int for Ping.gen, got str"),
        ({**PING, "gen": None}, "expected int for Ping.gen, got NoneType"),
        ({**PING, "t": 2}, "expected float for Ping.t, got int"),
        ({**PING, "run": 5}, "expected str for Ping.run, got int"),
        ({**REFUSE, "permanent": 1}, "expected bool for Refuse.permanent, got int"),
        ({**HELLO, "v": True}, "expected int for Hello.v, got bool"),
        ({**HELLO, "v": "1"}, "expected int for Hello.v, got str"),
    ],
)
def test_a_field_of_another_type_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(MalformedFrame, match=expected):
        decode(sealed(values))


@pytest.mark.parametrize("value", [-1, -(2**63), 2**63, 2**64 - 1])
def test_an_integer_outside_of_its_range_is_refused(value: int) -> None:
    with pytest.raises(MalformedFrame, match=r"Ping\.sid"):
        decode(sealed({**PING, "sid": value}))


def test_only_a_durable_step_may_be_minus_one() -> None:
    assert decode(encode(Bye(RUN, 1, 7, "stopping", -1))).durable_step == -1
    with pytest.raises(MalformedFrame, match=r"Bye\.durable_step"):
        decode(encode(Bye(RUN, 1, 7, "stopping", -2)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(MalformedFrame, match=r"finite Ping\.t"):
        decode(sealed({**PING, "t": value}))


@pytest.mark.parametrize("name", ["document_s", "queued_s", "compute_s", "heartbeat_s"])
def test_only_a_loss_may_be_no_number(name: str) -> None:
    messages = {
        "document_s": Ready(RUN, 1, 7, "", "", "", 0.5),
        "queued_s": GRAD,
        "compute_s": GRAD,
        "heartbeat_s": Welcome(2, RUN, 1, 7, "{}", 1.0),
    }
    header = msgpack.unpackb(encode(messages[name])[1])

    with pytest.raises(MalformedFrame, match=name):
        decode(sealed({**header, name: math.nan}))


def test_a_payload_with_a_message_that_has_none_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="no payload with Ping, got 3 bytes"):
        decode(sealed(PING, b"abc"))


@pytest.mark.parametrize("version", [-1, 0, 1, 3, 2**64 - 1])
def test_a_hello_of_another_version_says_which(version: int) -> None:
    with pytest.raises(VersionMismatch, match=f"expected protocol version 2, got {version}") as got:
        decode(sealed({**HELLO, "v": version}))

    assert got.value.version == version


def test_a_hello_of_another_version_may_have_other_fields() -> None:
    with pytest.raises(VersionMismatch):
        decode(sealed({"type": "HELLO", "v": 3, "whoami": "worker of next year"}))


def test_a_hello_of_version_1_is_known_by_its_digest() -> None:
    """Its digests were sha256; a damaged message must not be taken for it."""
    header, payload = msgpack.packb({**HELLO, "v": 1}), b""
    digest = hashlib.sha256(header).digest()[:16]

    with pytest.raises(VersionMismatch, match="expected protocol version 2, got 1"):
        decode([digest, header, payload])
    with pytest.raises(DigestMismatch):
        decode([digest, header.replace(b"HELLO", b"HELLP"), payload])
