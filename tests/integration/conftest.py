"""Labs for the tests that start real processes: one for a test, one for a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.flock import PROC, Lab


@pytest.fixture
def lab(tmp_path: Path, kernels: None) -> Iterator[Lab]:
    yield from _lab(tmp_path)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, kernels: None) -> Iterator[Lab]:
    yield from _lab(tmp_path_factory.mktemp("lab"))


def _lab(directory: Path) -> Iterator[Lab]:
    if not (PROC / "self" / "environ").exists():
        pytest.skip("who belongs to a test is read from /proc, which this system does not have")
    lab = Lab(directory)
    try:
        yield lab
    finally:
        lab.kill_all()
