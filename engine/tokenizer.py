"""Characters to token ids and back: the whole vocabulary is the characters of the dataset.

One more token, BOS, marks where a document begins and where it ends.
"""

from collections.abc import Iterable, Sequence

from engine.errors import DatasetError, UnknownCharacter


class Tokenizer:
    """The vocabulary of one dataset.

    Attributes:
        characters: every character of the dataset, sorted; its index is its token id.
        bos: the id of BOS, the last of the vocabulary.
        vocab_size: how many token ids there are.
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.bos = len(characters)
        self.vocab_size = len(characters) + 1
        self._ids = {character: index for index, character in enumerate(characters)}

    @classmethod
    def of_documents(cls, documents: Iterable[str]) -> "Tokenizer":
        """Make the vocabulary of a dataset.

        Raises:
            DatasetError: fewer than two different characters; there is nothing to learn.
        """
        characters = "".join(sorted({c for document in documents for c in document}))
        if len(characters) < 2:
            raise DatasetError(
                f"expected documents with at least 2 different characters, got {characters!r}"
                " — dataset; give a file with one document a line"
            )
        return cls(characters)

    def encode(self, text: str) -> list[int]:
        """Give the token id of each character.

        Raises:
            UnknownCharacter: the text holds a character that the dataset did not.
        """
        unknown = next((c for c in text if c not in self._ids), None)
        if unknown is not None:
            raise UnknownCharacter(unknown, self.characters)
        return [self._ids[c] for c in text]

    def encode_document(self, document: str, block_size: int) -> list[int]:
        """Give a document as tokens: BOS, its characters, BOS; cut to block_size positions.

        A position predicts the token after it, so n positions are n + 1 tokens.
        """
        return [self.bos, *self.encode(document), self.bos][: block_size + 1]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.characters[token] for token in tokens)
