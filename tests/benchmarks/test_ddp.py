"""PyTorch is looked for, and what it says is read, without importing it."""

import sys
from pathlib import Path

import pytest

from benchmarks import ddp
from benchmarks.ddp import find_torch, run_peer

pytestmark = pytest.mark.integration


def test_an_interpreter_that_is_not_there_is_a_reason() -> None:
    found = find_torch(Path("no-such-python"))

    assert not found.python
    assert found.problem.startswith("no-such-python cannot be started: No such file")


def test_an_interpreter_without_torch_is_a_reason(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import no_such_torch"\n')
    python.chmod(0o755)

    assert "No module named 'no_such_torch'" in find_torch(python).problem


def test_where_there_is_none_the_flag_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ddp, "BESIDE", tmp_path / "python")
    monkeypatch.setattr(ddp, "find_spec", lambda _: None)

    assert "--torch-python" in find_torch(None).problem


def test_the_last_line_that_a_module_prints_is_what_it_has_measured() -> None:
    printed = run_peer(sys.executable, "benchmarks.swarm", ["--help"])

    assert "Print one JSON object." in printed


def test_a_module_that_fails_ends_the_benchmark_with_its_last_word() -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.swarm, got: .*unrecognized arguments: --x"):
        run_peer(sys.executable, "benchmarks.swarm", ["--x"])
