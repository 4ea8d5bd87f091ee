"""A role's health: what it writes, and what is read of it."""

import json
import time
from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.main import main
from cli.pulse import BEAT_S, STALE_S, Pulse, ill

pytestmark = pytest.mark.unit


def test_a_role_that_has_just_beaten_is_well(tmp_path: Path) -> None:
    Pulse(tmp_path / "health").beat(time.monotonic(), "")

    assert ill(tmp_path / "health") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["health"]


def test_a_role_that_has_trouble_is_ill_at_once(tmp_path: Path) -> None:
    """What a save has come to is told when it is known, and not a second later."""
    pulse, now = Pulse(tmp_path / "health"), time.monotonic()
    pulse.beat(now, "")
    pulse.beat(now, "no space left on device")

    assert "got: no space left on device" in ill(tmp_path / "health")

    pulse.beat(now, "")
    assert ill(tmp_path / "health") == ""


@pytest.mark.parametrize("age_s", [STALE_S + 0.5, 3600.0, -60.0])
def test_a_role_that_has_not_beaten_for_long_is_ill(tmp_path: Path, age_s: float) -> None:
    """Also one that will beat in the future: the machine has started anew since."""
    Pulse(tmp_path / "health").beat(time.monotonic() - age_s, "")

    assert "expected a loop that turned within 5 s, got" in ill(tmp_path / "health")


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"monotonic_s": "x", "trouble": ""}'])
def test_what_no_role_has_written_is_ill(tmp_path: Path, text: str) -> None:
    (tmp_path / "health").write_text(text)

    assert "expected a role that writes its health, got" in ill(tmp_path / "health")


def test_a_loop_that_turns_often_writes_seldom(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "health")
    written = set()
    for tick in range(100):
        pulse.beat(BEAT_S * tick / 10, "")
        written.add(json.loads((tmp_path / "health").read_text())["monotonic_s"])

    assert len(written) == 10


def test_without_a_file_nothing_happens(tmp_path: Path) -> None:
    Pulse(None).beat(0.0, "")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["none/health", ".", ""])
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a file that can be written.*--health-file"):
        Pulse(tmp_path / name)


def test_a_link_that_somebody_has_laid_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".health.tmp").symlink_to(tmp_path / "victim")
    (tmp_path / "health").symlink_to(tmp_path / "victim")

    Pulse(tmp_path / "health").beat(time.monotonic(), "")

    assert (tmp_path / "victim").read_text() == "mine"
    assert ill(tmp_path / "health") == ""


@pytest.mark.parametrize(("trouble", "code"), [("", 0), ("no space", 1)])
def test_the_command_says_it_with_its_exit_code(
    tmp_path: Path, trouble: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Pulse(tmp_path / "health").beat(time.monotonic(), trouble)

    with pytest.raises(SystemExit) as ending:
        main(["health", str(tmp_path / "health")])

    assert ending.value.code == code
    said = capsys.readouterr()
    assert said.out == ("" if trouble else "well\n")
    assert trouble in said.err
