"""Where the names come from when nobody says where."""

import pytest

from tests.integration.flock import Lab
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

CLOSED = "http://127.0.0.1:9"  # a proxy that is not there: no network, on any machine


def test_without_a_network_the_bundled_names_stand_in_with_one_line_that_says_so(
    lab: Lab,
) -> None:
    """`make train` on a plane must work, and must not pretend that it trains on the real list."""
    lab.environment.update(https_proxy=CLOSED, HTTPS_PROXY=CLOSED, no_proxy="", NO_PROXY="")

    train = lab.train_with(*Job(steps=1, block_size=16).flags(), "--data=names", "--workers=1")

    assert train.summary()["steps"] == 1
    lines = [line for line in train.stderr.splitlines() if "cannot be fetched" in line]
    assert len(lines) == 1
    assert "bundled names instead" in lines[0]
    assert not (lab.directory / "cache").exists()
