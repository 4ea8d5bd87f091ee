"""What a TASK carries besides its header: parameters, where the worker lacks them, and documents.

Layout, all little-endian: num_params float64 if `has_params`; then one uint16 for each document,
its number of tokens; then the tokens of all documents, uint16.
"""

import struct
from collections.abc import Sequence

from wire.errors import PayloadMismatch


def pack_documents(documents: Sequence[Sequence[int]]) -> bytes:
    lengths = [len(tokens) for tokens in documents]
    flat = [token for tokens in documents for token in tokens]
    return struct.pack(f"<{len(lengths)}H{len(flat)}H", *lengths, *flat)


def unpack_task(
    payload: bytes, num_documents: int, num_params: int, has_params: bool
) -> tuple[bytes, list[tuple[int, ...]]]:
    """Take a TASK's payload apart.

    Returns:
        The parameters' bytes, empty if it has none; the documents' tokens.

    Raises:
        PayloadMismatch: the payload has another length than its parts.
    """
    params_bytes = 8 * num_params if has_params else 0
    tokens_start = params_bytes + 2 * num_documents
    if len(payload) < tokens_start:
        raise PayloadMismatch(f"expected at least {tokens_start} bytes, got {len(payload)} — task")
    lengths = struct.unpack_from(f"<{num_documents}H", payload, params_bytes)
    expected = tokens_start
    for length in lengths:
        expected += 2 * length
    if len(payload) != expected:
        raise PayloadMismatch(f"expected {expected} bytes, got {len(payload)} — task")
    documents = []
    offset = tokens_start
    for length in lengths:
        documents.append(struct.unpack_from(f"<{length}H", payload, offset))
        offset += 2 * length
    return payload[:params_bytes], documents
