"""Where the trials of a run directory happen, and the processes that go through them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.children import Children

MEMORY = Path("/dev/shm")  # thousands of directories; whether a disk is fast is not the question


@pytest.fixture(autouse=True)
def _kernels_where_they_are_needed() -> None:
    """Takes the place of the fixture that compiles kernels: nothing is computed here."""


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """A directory in memory, where the system has such."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gradflock-", dir=place) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    if shutil.which("strace") is None:
        pytest.skip("calls are recorded and made to fail by strace, which is not installed")
    children = Children()
    try:
        yield children
    finally:
        children.close()
