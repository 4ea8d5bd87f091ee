"""Packed documents are a sequence of documents like any other, in one piece of memory."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.packed import PackedDocuments

pytestmark = pytest.mark.unit

DOCUMENTS = [(4, 0, 1, 4), (4, 2, 4), (4, 4)]

some_documents = st.lists(st.lists(st.integers(0, 65_535), max_size=9).map(tuple), max_size=9)


@given(some_documents)
def test_documents_come_out_as_they_went_in(documents: list[tuple[int, ...]]) -> None:
    packed = PackedDocuments.of(documents)

    assert [*packed] == documents
    assert packed == documents
    assert len(packed) == len(documents)


@given(some_documents, st.integers(0, 9), st.integers(0, 9))
def test_a_slice_is_that_of_a_list(documents: list[tuple[int, ...]], first: int, last: int) -> None:
    assert PackedDocuments.of(documents)[first:last] == documents[first:last]


def test_a_slice_shares_the_memory_and_what_is_known_of_it() -> None:
    packed = PackedDocuments.of(DOCUMENTS)

    part = packed[1:]

    assert part.tokens is packed.tokens
    assert part.bounds.base is packed.bounds.base or part.bounds.base is packed.bounds
    assert (part.shortest, part.longest, part.largest) == (2, 4, 4)


def test_one_document_may_be_taken_from_either_end() -> None:
    packed = PackedDocuments.of(DOCUMENTS)

    assert (packed[0], packed[-1]) == ((4, 0, 1, 4), (4, 4))
    with pytest.raises(IndexError):
        packed[3]


def test_what_is_packed_already_is_not_packed_again() -> None:
    packed = PackedDocuments.of(DOCUMENTS)

    assert PackedDocuments.of(packed) is packed


def test_no_documents_have_no_extremes() -> None:
    packed = PackedDocuments.of_arrays(array("H"), array("H"))

    assert (len(packed), packed.shortest, packed.longest, packed.largest) == (0, 0, 0, 0)


@pytest.mark.parametrize("token", [-1, 65_536])
def test_a_token_that_no_vocabulary_has_is_refused(token: int) -> None:
    with pytest.raises(OverflowError):
        PackedDocuments.of([(0, token, 0)])
