"""The decoder under hostile frames, thousands and millions: two errors of ours and no memory."""

import random
from collections import Counter

import pytest

from tests.memory import rss_bytes
from tests.wire.hostile import hostile
from wire.codec import decode
from wire.errors import MalformedFrame, VersionMismatch

SEED = 1
WARM_UP = 1000  # frames, until every path has been taken once
GROWTH_BYTES_MAX = 16 * 1024 * 1024


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(10_000, marks=pytest.mark.unit),
        pytest.param(1_000_000, marks=pytest.mark.long),
        pytest.param(5_000_000, marks=pytest.mark.soak),
    ],
)
def test_hostile_messages_raise_our_errors_and_take_no_memory(count: int) -> None:
    """Whoever may connect may send this, and the decoder is the first to see it."""
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    before_bytes = 0
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            before_bytes = rss_bytes()
        frames = hostile(rng)
        try:
            decode(frames)
            outcomes["read"] += 1
        except (MalformedFrame, VersionMismatch) as error:  # nothing else may come out
            outcomes[type(error).__name__] += 1

    assert rss_bytes() - before_bytes < GROWTH_BYTES_MAX
    assert outcomes["read"] > count / 20  # well-made lies
    assert outcomes["MalformedFrame"] > count / 5
    assert outcomes["DigestMismatch"] > count / 5
    assert outcomes["VersionMismatch"] > count / 200
