"""Where the commands that look at checkpoints are typed: beside a run, and far from any other."""

from pathlib import Path

import pytest

from coordinator.run_directory import RunDirectory
from tests.cli.checkpoints import saved_run


@pytest.fixture
def own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG", "RUN_DIR"):
        monkeypatch.delenv(f"GRADFLOCK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return saved_run(tmp_path)
