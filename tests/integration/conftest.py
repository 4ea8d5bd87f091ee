"""Labs for the tests that start real processes: one for a test, one for a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.figures import Figures
from tests.integration.flock import PROC, Lab

MEASURED = "measured"  # the property of a report


@pytest.fixture
def lab(tmp_path: Path, kernels: None) -> Iterator[Lab]:
    yield from _lab(tmp_path)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, kernels: None) -> Iterator[Lab]:
    yield from _lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Where a trial puts what it measures; kept in pytest's cache directory, under `trials`."""
    figures = Figures(request.node.name)
    yield figures
    assert request.config.cache is not None
    figures.keep(request.config.cache.mkdir("trials"))
    request.node.user_properties += [(MEASURED, line) for line in figures.lines()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what trials have measured, wherever they ran."""
    reports = [r for r in terminalreporter.stats.get("", []) if r.when == "teardown"]
    lines = [line for r in reports for name, line in r.user_properties if name == MEASURED]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)


def _lab(directory: Path) -> Iterator[Lab]:
    if not (PROC / "self" / "environ").exists():
        pytest.skip("who belongs to a test is read from /proc, which this system does not have")
    lab = Lab(directory)
    try:
        yield lab
    finally:
        lab.kill_all()
