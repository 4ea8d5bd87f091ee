"""Digests: what the specification of XXH3-128 says of known bytes, so that versions agree."""

import pytest

from wire.digest import DIGEST_BYTES, digest, params_digest

pytestmark = pytest.mark.unit


def test_nothing_has_the_digest_that_the_specification_gives_it() -> None:
    assert digest(b"", b"").hex() == "99aa06d3014798d86001c324468d497f"
    assert len(digest(b"", b"")) == DIGEST_BYTES


def test_header_and_payload_have_no_seam() -> None:
    assert digest(b"ab", b"c") == digest(b"abc", b"") == digest(b"", b"abc")


def test_parameters_are_known_by_the_digest_of_their_bytes() -> None:
    params = bytes(range(256)) * 131

    assert params_digest(params) == digest(params, b"").hex()


def test_every_single_flipped_bit_shows() -> None:
    params = bytes(range(256))
    seen = {params_digest(params)}

    for bit in range(8 * len(params)):
        flipped = bytearray(params)
        flipped[bit // 8] ^= 1 << bit % 8
        seen.add(params_digest(bytes(flipped)))

    assert len(seen) == 8 * len(params) + 1
