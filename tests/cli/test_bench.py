"""A benchmark is started as the process that was asked for it."""

import subprocess
import sys

import pytest

from cli import bench
from cli.main import main


class Became(Exception):
    """Raised where the process would have become another."""


@pytest.fixture
def _stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(path: str, command: list[str]) -> None:
        raise Became(path, command)

    monkeypatch.setattr(bench.os, "execv", become)


@pytest.mark.unit
@pytest.mark.usefixtures("_stays")
@pytest.mark.parametrize("args", [[], ["--rounds", "3", "--json"], ["--help"], ["x", "--", "-n"]])
def test_what_follows_the_name_is_handed_over(args: list[str]) -> None:
    with pytest.raises(Became) as became:
        main(["bench", "scaling", *args])

    module = ["-m", "benchmarks.scaling"]
    assert became.value.args == (sys.executable, [sys.executable, *module, *args])


@pytest.mark.unit
def test_help_before_a_name_says_what_each_measures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["bench", "--help"])

    assert ending.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"{name} " in shown for name in bench.NAMES)


@pytest.mark.unit
@pytest.mark.usefixtures("_stays")
def test_without_the_package_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PACKAGE", "no_such_package")

    with pytest.raises(SystemExit) as ending:
        main(["bench", "swarm"])

    [line] = capsys.readouterr().err.splitlines()
    assert ending.value.code == 2
    assert line.startswith("gradflock: expected the package no_such_package, got none")


@pytest.mark.integration
@pytest.mark.parametrize("name", bench.NAMES)
def test_every_name_is_a_benchmark_that_has_help(name: str) -> None:
    command = [sys.executable, "-m", f"{bench.PACKAGE}.{name}", "--help"]

    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"benchmarks.{name}" in done.stdout
