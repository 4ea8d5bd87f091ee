"""Documents one after the other in one array: as a TASK brings them, and as kernels read them."""

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from engine.shards import Tokens


class PackedDocuments(Sequence[Tokens]):
    """A sequence of documents, whose slices share its memory.

    Attributes:
        tokens: (tokens,) int64, of all documents.
        bounds: (documents + 1,) int64, where each begins and the last ends.
        shortest, longest: numbers of tokens that no document has fewer, or more, than.
        largest: no token is greater.
    """

    def __init__(
        self,
        tokens: NDArray[np.int64],
        bounds: NDArray[np.int64],
        shortest: int,
        longest: int,
        largest: int,
    ) -> None:
        self.tokens = tokens
        self.bounds = bounds
        self.shortest = shortest
        self.longest = longest
        self.largest = largest

    @classmethod
    def of_arrays(cls, lengths: "array[int]", tokens: "array[int]") -> "PackedDocuments":
        """Take unsigned numbers of tokens, and all tokens."""
        counts, flat = np.asarray(lengths), np.asarray(tokens)
        bounds = np.zeros(len(counts) + 1, np.int64)
        np.add.accumulate(counts, dtype=np.int64, out=bounds[1:])
        shortest, longest = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
        largest = int(flat.max()) if len(flat) else 0
        return cls(flat.astype(np.int64), bounds, shortest, longest, largest)

    @classmethod
    def of(cls, documents: Sequence[Tokens]) -> "PackedDocuments":
        """Take documents of any kind.

        Raises:
            OverflowError: a token is negative, or greater than any vocabulary is large.
        """
        if isinstance(documents, PackedDocuments):
            return documents
        tokens = array("H", chain.from_iterable(documents))
        return cls.of_arrays(array("H", map(len, documents)), tokens)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, place: int) -> Tokens: ...

    @overload
    def __getitem__(self, place: slice) -> "PackedDocuments": ...

    def __getitem__(self, place: int | slice) -> "Tokens | PackedDocuments":
        if isinstance(place, int):
            first, last = self.bounds[range(len(self))[place] :][:2]
            return tuple(self.tokens[first:last].tolist())
        first, last, step = place.indices(len(self))
        assert step == 1, "what lies in one piece"
        bounds = self.bounds[first : max(first, last) + 1]
        return PackedDocuments(self.tokens, bounds, self.shortest, self.longest, self.largest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*map(tuple, other)]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PackedDocuments({[*self]!r})"
