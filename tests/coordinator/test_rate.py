"""Documents per second, over what was lately."""

import pytest

from coordinator.rate import RECENT, Rate

pytestmark = pytest.mark.unit


def test_nothing_yet_is_no_rate() -> None:
    assert Rate().documents_per_s == 0.0


def test_a_rate_weighs_documents_and_not_steps() -> None:
    rate = Rate()
    rate.add(30, 1.0)
    rate.add(10, 3.0)

    assert rate.documents_per_s == 10.0


def test_what_was_long_ago_is_forgotten() -> None:
    rate = Rate()
    rate.add(1, 1000.0)
    for _ in range(RECENT):
        rate.add(8, 2.0)

    assert rate.documents_per_s == 4.0


def test_no_time_at_all_still_gives_a_number() -> None:
    rate = Rate()
    rate.add(8, 0.0)

    assert rate.documents_per_s > 0
