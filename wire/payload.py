"""The documents that a TASK carries, as bytes.

Layout, little-endian: one uint16 for each document, its number of tokens; then the tokens of all
documents, uint16.
"""

import struct
import sys
from array import array
from collections.abc import Sequence

from wire.errors import PayloadMismatch

TOKEN_BYTES = 2  # a length takes as many


def pack(document: Sequence[int]) -> bytes:
    """Pack the tokens of a document, once for all payloads that it will be in."""
    return struct.pack(f"<{len(document)}H", *document)


def join(packed: Sequence[bytes]) -> bytes:
    """Give the payload of packed documents, in their order."""
    lengths = [len(tokens) // TOKEN_BYTES for tokens in packed]
    return b"".join([struct.pack(f"<{len(lengths)}H", *lengths), *packed])


def unpack(payload: bytes, num_documents: int) -> "tuple[array[int], array[int]]":
    """Take a TASK's payload apart: its documents' numbers of tokens, and the tokens of all.

    Raises:
        PayloadMismatch: the payload has another length than its parts.
    """
    first = TOKEN_BYTES * num_documents
    if len(payload) < first:
        raise PayloadMismatch(f"expected at least {first} bytes, got {len(payload)} — task")
    lengths = _read(payload[:first])
    expected = first + TOKEN_BYTES * sum(lengths)
    if len(payload) != expected:
        raise PayloadMismatch(f"expected {expected} bytes, got {len(payload)} — task")
    return lengths, _read(payload[first:])


def _read(data: bytes) -> "array[int]":
    numbers = array("H")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
