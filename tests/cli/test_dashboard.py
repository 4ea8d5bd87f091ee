"""What `gradflock dashboard` takes, and what it refuses before it opens anything."""

import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import gradflock, main
from tests.dashboard.fake_coordinator import checkpoint, save

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _signals_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name in ("CONFIG", "RUN_DIR", "INSECURE", "DASHBOARD_HTTP"):
        monkeypatch.delenv(f"GRADFLOCK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ending:
        main(["dashboard", *arguments])
    assert ending.value.code == 2
    return capsys.readouterr().err


def test_an_address_that_others_reach_needs_to_be_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "add --insecure" in refusal(capsys, "--run-dir", "run", "--http", "0.0.0.0:8090")


@pytest.mark.parametrize("address", ["off", "8090", "here:port"])
def test_what_is_no_address_is_refused(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert "expected host:port" in refusal(capsys, "--run-dir", "run", "--http", address)


def test_without_a_run_there_is_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a run under ./runs, got none" in refusal(capsys)


def test_the_samplers_address_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables and files that name an address of HTTP meant the sampler, and still do."""
    save(tmp_path / "runs" / "one", checkpoint(1))
    monkeypatch.setenv("GRADFLOCK_HTTP", "127.0.0.1:8000")
    config = tmp_path / "config.toml"
    config.write_text('http = "127.0.0.1:8000"\n')
    with gradflock.make_context("gradflock", ["--config", str(config), "dashboard"]) as context:
        context.invoke(gradflock.callback, config=config)
        command = gradflock.get_command(context, "dashboard")
        assert command is not None
        with command.make_context("dashboard", [], parent=context) as made:
            assert made.params["http"] == "127.0.0.1:8090"
            assert isinstance(made, click.Context)
