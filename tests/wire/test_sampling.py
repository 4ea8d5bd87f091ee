"""Requests to the sampler and its replies: what is not supported is refused, never ignored."""

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import MalformedFrame
from wire.sampling import (
    SampleReply,
    SampleRequest,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

pytestmark = pytest.mark.unit

REPLY = {"samples": ["anna"], "step": 3, "sha256": "ab", "seed": 1, "run": "5f"}


def test_an_empty_request_asks_for_one_document_with_the_defaults() -> None:
    assert decode_request(msgpack.packb({})) == SampleRequest(
        prompt="", n=1, temperature=0.5, seed=None, max_tokens=None, rng="seed", stream=False
    )


@given(
    st.builds(
        SampleRequest,
        prompt=st.text(max_size=50).filter(str.isprintable),
        n=st.integers(1, 1000),
        temperature=st.floats(0.001, 100),
        seed=st.none() | st.integers(0, 2**63 - 1),
        max_tokens=st.none() | st.integers(1, 2**63 - 1),
    )
)
def test_a_request_arrives_as_it_was_sent(request: SampleRequest) -> None:
    assert decode_request(encode_request(request)) == request


def test_a_request_may_go_on_with_the_generator_of_the_run() -> None:
    assert decode_request(msgpack.packb({"rng": "microgpt", "n": 20})).rng == "microgpt"


def test_a_whole_number_is_a_temperature() -> None:
    assert decode_request(msgpack.packb({"temperature": 1})).temperature == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": 5}, "expected prompt to be text, got int"),
        ({"prompt": None}, "expected prompt to be text, got NoneType"),
        ({"n": 0}, "expected n from 1 to 1000, got 0"),
        ({"n": 1001}, "expected n from 1 to 1000, got 1001"),
        ({"n": -1}, "expected n from 1 to 1000"),
        ({"n": True}, "expected n from 1 to 1000, got True"),
        ({"n": 1.0}, "expected n from 1 to 1000, got 1.0"),
        ({"n": None}, "expected n from 1 to 1000"),
        ({"temperature": -1.0}, "expected a temperature of 0"),
        ({"temperature": 100.1}, "expected a temperature of 0"),
        ({"temperature": math.nan}, "expected a temperature of 0, or from 0.001 to 100, got nan"),
        ({"temperature": math.inf}, "expected a temperature of 0, or from 0.001 to 100, got inf"),
        ({"temperature": True}, "expected a temperature of 0"),
        ({"temperature": "1"}, "expected a temperature of 0"),
        ({"seed": -1}, "expected seed from 0"),
        ({"seed": 2**63}, "expected seed from 0"),
        ({"seed": True}, "expected seed from 0"),
        ({"seed": 1.0}, "expected seed from 0"),
        ({"max_tokens": 0}, "expected max_tokens of 1 or more, got 0"),
        ({"max_tokens": True}, "expected max_tokens"),
        ({"max_tokens": 2.0}, "expected max_tokens"),
        ({"rng": "numpy"}, "expected rng to be seed or microgpt, got 'numpy'"),
        ({"rng": None}, "expected rng"),
        ({"rng": "microgpt", "seed": 1}, "expected a seed or rng microgpt, got both"),
        ({"stream": 0}, "expected stream to be true or false, got 0"),
        ({"top_p": 0}, "expected top_p above 0, up to 1, got 0"),
        ({"top_p": 1.1}, "expected top_p above 0, up to 1, got 1.1"),
        ({"top_p": math.nan}, "expected top_p above 0, up to 1, got nan"),
        ({"model": 5}, "expected model to be text, got int"),
        ({"top_k": 9}, "got 'top_k'"),
        ({"problem": 1}, "got 'problem'"),
    ],
)
def test_a_request_for_what_cannot_be_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(MalformedFrame, match=expected):
        decode_request(msgpack.packb(values))


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 0.0009])
def test_a_temperature_below_the_least_is_refused(temperature: float) -> None:
    """At 1e-310 a logit divided by it is infinite, and would look like a diverged model."""
    with pytest.raises(MalformedFrame, match="temperature"):
        decode_request(msgpack.packb({"temperature": temperature}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1",
        msgpack.packb([]),
        msgpack.packb("anna"),
        msgpack.packb({1: 2}),
        msgpack.packb({"prompt": {"a": 1}}),
        msgpack.packb({"prompt": []}),
        msgpack.packb({"prompt": b"anna"}),
        msgpack.packb({"n": 1}) + b"\x00",
        b"\x81\xa1n\xdf\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_request(data)


def test_an_oversized_request_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="at most 4096 bytes, got 5009"):
        decode_request(msgpack.packb({"prompt": "a" * 4998}))


def test_a_refusal_shows_no_more_than_a_piece_of_what_came() -> None:
    with pytest.raises(MalformedFrame) as refusal:
        decode_request(msgpack.packb({"rng": "x" * 3000}))

    assert len(str(refusal.value)) < 100


@pytest.mark.parametrize(
    "reply",
    [
        SampleReply(("anna", "élodie", ""), 150, "ab" * 32, 7),
        SampleReply((), 0, "cd" * 32, None),
        SampleReply(code="busy", text="try again", run="5f"),
        SampleReply((), 3, "ab", 1, pieces=((0, "an", ""), (7, "", "stop"))),
        SampleReply(tuple("ab" for _ in range(1000)), 1, "", 2**63 - 1),
    ],
)
def test_a_reply_arrives_as_it_was_sent(reply: SampleReply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


def test_a_reply_is_a_map_that_any_language_reads() -> None:
    assert msgpack.unpackb(encode_reply(SampleReply(("anna",), 3, "ab", 1, run="5f"))) == REPLY


def test_an_error_is_a_map_with_code_and_text() -> None:
    packed = encode_reply(SampleReply(code="busy", text="try again"))

    assert msgpack.unpackb(packed) == {"error": {"code": "busy", "text": "try again"}, "run": ""}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 400 Bad Request",
        msgpack.packb([]),
        msgpack.packb({}),
        msgpack.packb({"error": "busy"}),
        msgpack.packb({"error": {"code": "busy"}}),
        msgpack.packb({**REPLY, "samples": 5}),
        msgpack.packb({**REPLY, "step": "three"}),
        msgpack.packb({**REPLY, "step": None}),
        msgpack.packb({"samples": ["anna"]}),
        msgpack.packb({**REPLY, "samples": ["a"] * 1001}),
        msgpack.packb({**REPLY, "step": math.inf}),
    ],
)
def test_bytes_that_are_no_reply_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_reply(data)


@pytest.mark.parametrize("pieces", [5, [5], [[0]], [["x", "a", ""]], [[0, "a"]]])
def test_pieces_of_another_shape_are_refused(pieces: object) -> None:
    with pytest.raises(MalformedFrame):
        decode_reply(msgpack.packb({**REPLY, "pieces": pieces}))
