"""What a message and a parameter vector are known by.

A digest notices what the network has damaged; it is no proof of who has sent a message, which
CURVE's keys are. So it need not be a cryptographic one: xxh3 takes 0.7 us for the parameters of the
default model where sha256 takes 19, several times in each step and for each worker.

Source: the XXH3 specification, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

import xxhash

DIGEST_BYTES = 16


def digest(header: bytes, payload: bytes) -> bytes:
    """Give the digest of a message: XXH3-128 over header and payload, without a seam."""
    hasher = xxhash.xxh3_128(header)
    hasher.update(payload)
    return hasher.digest()


def params_digest(params: bytes) -> str:
    """Name a parameter vector among those of a run."""
    return xxhash.xxh3_128_hexdigest(params)
