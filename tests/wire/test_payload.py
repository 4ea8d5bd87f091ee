"""A TASK's payload: lengths, tokens, and not a byte more or less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import MalformedFrame, PayloadMismatch
from wire.payload import join, pack, unpack

pytestmark = pytest.mark.unit

DOCUMENTS = [(4, 0, 1, 4), (4, 2, 4)]
PAYLOAD = join([*map(pack, DOCUMENTS)])

some_documents = st.lists(st.lists(st.integers(0, 65_535), max_size=20).map(tuple), max_size=12)


def test_documents_are_lengths_then_tokens_little_endian() -> None:
    assert join([pack([258]), pack([1, 2])]) == bytes([1, 0, 2, 0, 2, 1, 1, 0, 2, 0])


@given(some_documents)
def test_documents_are_taken_apart_as_they_were_put_together(
    documents: list[tuple[int, ...]],
) -> None:
    lengths, tokens = unpack(join([*map(pack, documents)]), len(documents))

    assert lengths.tolist() == [*map(len, documents)]
    assert tokens.tolist() == [token for document in documents for token in document]


def test_every_truncation_is_refused() -> None:
    for length in range(len(PAYLOAD)):
        with pytest.raises(PayloadMismatch, match=f"got {length}"):
            unpack(PAYLOAD[:length], 2)


def test_a_byte_too_many_is_refused() -> None:
    with pytest.raises(PayloadMismatch, match=f"expected {len(PAYLOAD)} bytes"):
        unpack(PAYLOAD + b"\x00", 2)


@pytest.mark.parametrize("num_documents", [0, 1, 3])
def test_counts_that_do_not_fit_the_bytes_are_refused(num_documents: int) -> None:
    with pytest.raises(PayloadMismatch):
        unpack(PAYLOAD, num_documents)


def test_a_huge_announced_count_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(PayloadMismatch, match="at least"):
        unpack(b"\x00" * 100, 2**63 - 1)


def test_a_wrong_length_is_a_malformed_frame() -> None:
    assert issubclass(PayloadMismatch, MalformedFrame)
