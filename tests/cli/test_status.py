"""`gradflock status` without a coordinator, and with a door that a thread of the test answers."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from cli.main import main
from coordinator.status import to_json
from coordinator.status_door import StatusDoor
from tests.cli.runs import FLAGS, plan_of, save
from tests.coordinator.standing import STATUS

pytestmark = pytest.mark.integration

NOBODY = "expected a running coordinator, got none"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG", "RUN_DIR", "CONNECT"):
        monkeypatch.delenv(f"GRADFLOCK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The newest run under ./runs; its id is that of STATUS."""
    path = tmp_path / "runs" / "one"
    plan, _ = plan_of(path, **FLAGS)
    save(path, plan)
    (path / "run").rename(path.with_name("it"))
    return path.with_name("it")


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """A coordinator's door without a coordinator."""
    is_over = Event()

    def answer() -> None:
        while not is_over.wait(0.005):
            door.answer({b"STATUS": lambda: data})

    with StatusDoor() as door:
        thread = Thread(target=answer)
        thread.start()
        try:
            yield door.address
        finally:
            is_over.set()
            thread.join()


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        main(["status", *arguments])
    assert isinstance(ending.value.code, int)
    return ending.value.code


def address_file(run_dir: Path, text: str) -> None:
    (run_dir / "status.address").write_text(text)


def test_the_newest_run_says_how_it_stands(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(to_json(STATUS)) as address:
        address_file(run_dir, address + "\n")
        code = ended()

    captured = capsys.readouterr()
    assert code == 0
    assert captured.err == ""
    assert "WORLD_SIZE 1" in captured.out
    assert "RANK  name" in captured.out
    assert "\x1b" not in captured.out


def test_an_address_will_do_without_a_run_directory(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(to_json(STATUS)) as address:
        code = ended("--connect", address, "--json")

    assert code == 0
    assert json.loads(capsys.readouterr().out)["members"][0]["rank"] == 0


@pytest.mark.parametrize("text", [None, "", "nonsense", "tcp://127.0.0.1:0"])
def test_a_run_that_nobody_trains_ends_with_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        address_file(run_dir, text)

    code = ended("--run-dir", str(run_dir))

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line == (
        f"gradflock: {NOBODY} — {run_dir}; start it with gradflock train or coordinator"
    )


def test_an_address_that_a_dead_coordinator_has_left_is_known_as_such_within_three_seconds(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address_file(run_dir, f"tcp://127.0.0.1:{port}\n")

    began_s = time.monotonic()
    code = ended("--run-dir", str(run_dir))
    took_s = time.monotonic() - began_s

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith(f"gradflock: {NOBODY} (nobody listens there) — {run_dir}; start it")
    assert took_s < 3.0


def test_a_coordinator_that_is_stopped_is_none_within_three_seconds(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped process still has its port: connections are taken by the kernel, and nothing
    is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address_file(run_dir, f"tcp://127.0.0.1:{server.getsockname()[1]}\n")
        began_s = time.monotonic()
        code = ended("--run-dir", str(run_dir))
        took_s = time.monotonic() - began_s

    assert code == 1
    assert NOBODY in capsys.readouterr().err
    assert took_s < 3.0


def test_another_runs_door_at_an_old_address_is_not_taken_for_this_runs(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = to_json(STATUS).replace(b"5f" * 16, b"6e" * 16)
    with answering(other) as address:
        address_file(run_dir, address)
        code = ended("--run-dir", str(run_dir))

    assert code == 1
    assert NOBODY in capsys.readouterr().err


def test_an_answer_that_is_no_status_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(b'{"hello":"world"}') as address:
        code = ended("--connect", address)

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith("gradflock: expected a coordinator's status, got none for run")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a run under ./runs, got none"),
        (("--connect", "localhost"), "expected an address like tcp://127.0.0.1:5555"),
        (("--connect", "tcp://*:1"), "expected a host and a port to connect to"),
        (("--connect", "tcp://h:1", "--run-dir", "r"), "expected --connect or --run-dir"),
    ],
)
def test_what_is_typed_wrong_ends_with_two(
    arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ended(*arguments)

    assert code == 2
    assert expected in capsys.readouterr().err


def test_watching_goes_on_until_the_coordinator_is_gone(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.status.WATCH_S", 0.01)
    looks = 0

    def answer() -> None:
        nonlocal looks
        with StatusDoor() as door:
            address_file(run_dir, door.address)
            is_bound.set()
            while looks < 3 and time.monotonic() < deadline_s:
                door.answer({b"STATUS": make})

    def make() -> bytes:
        nonlocal looks
        looks += 1
        return to_json(STATUS)

    is_bound, deadline_s = Event(), time.monotonic() + 20
    thread = Thread(target=answer)
    thread.start()
    is_bound.wait(20)
    code = ended("--watch", "--json")
    thread.join()

    captured = capsys.readouterr()
    assert code == 0
    assert len(captured.out.splitlines()) == 3
    assert captured.err.startswith(f"no longer: {NOBODY}")
