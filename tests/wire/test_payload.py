"""A TASK's payload: parameters, lengths, tokens, and not a byte more or less."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import MalformedFrame, PayloadMismatch
from wire.payload import pack_documents, unpack_task

pytestmark = pytest.mark.unit

PARAMS = struct.pack("<3d", 0.5, -1.25, 3.0)
DOCUMENTS = [(4, 0, 1, 4), (4, 2, 4)]


def test_documents_are_lengths_then_tokens_little_endian() -> None:
    assert pack_documents([[258], [1, 2]]) == bytes([1, 0, 2, 0, 2, 1, 1, 0, 2, 0])


def test_parameters_come_before_the_documents() -> None:
    payload = PARAMS + pack_documents(DOCUMENTS)

    assert unpack_task(payload, 2, 3, True) == (PARAMS, DOCUMENTS)


def test_a_task_may_come_without_parameters() -> None:
    assert unpack_task(pack_documents(DOCUMENTS), 2, 3, False) == (b"", DOCUMENTS)


@given(
    st.lists(st.lists(st.integers(0, 65_535), max_size=20).map(tuple), max_size=12),
    st.integers(0, 5),
    st.booleans(),
)
def test_a_task_is_taken_apart_as_it_was_put_together(
    documents: list[tuple[int, ...]], num_params: int, has_params: bool
) -> None:
    params = bytes(range(8 * num_params)) if has_params else b""

    parts = unpack_task(params + pack_documents(documents), len(documents), num_params, has_params)

    assert parts == (params, documents)


def test_every_truncation_is_refused() -> None:
    payload = PARAMS + pack_documents(DOCUMENTS)

    for length in range(len(payload)):
        with pytest.raises(PayloadMismatch, match=f"got {length}"):
            unpack_task(payload[:length], 2, 3, True)


def test_a_byte_too_many_is_refused() -> None:
    payload = PARAMS + pack_documents(DOCUMENTS)

    with pytest.raises(PayloadMismatch, match=f"expected {len(payload)} bytes"):
        unpack_task(payload + b"\x00", 2, 3, True)


@pytest.mark.parametrize(("num_documents", "num_params"), [(3, 3), (1, 3), (2, 4), (2, 2)])
def test_counts_that_do_not_fit_the_bytes_are_refused(num_documents: int, num_params: int) -> None:
    payload = PARAMS + pack_documents([(4, 0, 1, 4), (4, 2, 4)])

    with pytest.raises(PayloadMismatch):
        unpack_task(payload, num_documents, num_params, True)


def test_a_huge_announced_count_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(PayloadMismatch, match="at least"):
        unpack_task(b"\x00" * 100, 2**63 - 1, 21, False)


def test_a_wrong_length_is_a_malformed_frame() -> None:
    assert issubclass(PayloadMismatch, MalformedFrame)
