"""Simulated workers use the eager engine: nothing is compiled."""

import pytest


@pytest.fixture(autouse=True)
def _kernels_where_they_are_needed() -> None:
    """Takes the place of the fixture that compiles kernels for tests of real workers."""
