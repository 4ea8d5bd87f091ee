"""The tokenizer: characters in order, BOS at both ends, a cut at block_size positions."""

import pytest

from engine.errors import DatasetError, UnknownCharacter
from engine.tokenizer import Tokenizer

pytestmark = pytest.mark.unit


def test_the_vocabulary_is_the_sorted_characters_and_then_bos() -> None:
    tokenizer = Tokenizer.of_documents(["cab", "ba", "a-z"])

    assert tokenizer.characters == "-abcz"
    assert tokenizer.bos == 5
    assert tokenizer.vocab_size == 6


def test_the_vocabulary_does_not_depend_on_the_order_of_the_documents() -> None:
    documents = ["emma", "olivia", "ava"]

    forwards = Tokenizer.of_documents(documents).characters
    backwards = Tokenizer.of_documents(reversed(documents)).characters

    assert forwards == backwards


def test_a_document_is_its_tokens_between_two_bos() -> None:
    assert Tokenizer("abc").encode_document("cab", 16) == [3, 2, 0, 1, 3]


def test_an_empty_document_is_one_position_from_bos_to_bos() -> None:
    assert Tokenizer("abc").encode_document("", 16) == [3, 3]


def test_a_document_that_just_fits_keeps_its_last_bos() -> None:
    assert Tokenizer("abc").encode_document("cab", 4) == [3, 2, 0, 1, 3]


def test_a_longer_document_is_cut_to_block_size_positions() -> None:
    assert Tokenizer("abc").encode_document("cabc", 4) == [3, 2, 0, 1, 2]


def test_decoding_gives_the_text_that_was_encoded() -> None:
    tokenizer = Tokenizer.of_documents(["emma", "olivia"])

    assert tokenizer.encode("via") == [6, 2, 0]
    assert tokenizer.decode([6, 2, 0]) == "via"


def test_the_first_character_outside_the_vocabulary_is_named_beside_those_inside() -> None:
    with pytest.raises(UnknownCharacter, match=r"expected characters of 'abc', got 'x'") as caught:
        Tokenizer("abc").encode("axby")

    assert caught.value.character == "x"


@pytest.mark.parametrize("documents", [[], [""], ["a", "aa"]], ids=["none", "empty", "one letter"])
def test_documents_without_two_different_characters_are_refused(documents: list[str]) -> None:
    with pytest.raises(DatasetError, match=r"at least 2 different characters, got .* — dataset; "):
        Tokenizer.of_documents(documents)
