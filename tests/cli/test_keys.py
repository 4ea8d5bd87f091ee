"""`gradflock keys` as people type it."""

import json
from pathlib import Path

import pytest

from cli.main import main
from wire.keyring import Keyring, read_client_key
from wire.keys import ClientKey

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADFLOCK_KEYS", raising=False)
    monkeypatch.chdir(tmp_path)


def keys(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        main(["keys", *arguments])
    assert isinstance(ending.value.code, int)
    return ending.value.code


def test_a_new_key_is_a_file_and_the_next_command_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert keys("new", "desk") == 0

    said = capsys.readouterr()
    assert said.out == ""
    assert "gradflock worker --connect tcp://HOST:5555 --key desk.key" in said.err
    key = read_client_key(Path("keys/desk.key"))
    assert key.name == "desk"
    assert Keyring(Path("keys")).allowlist().objection(key.public) == ""


def test_a_key_on_standard_output_is_kept_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("new", "desk", "--out", "-") == 0

    said = capsys.readouterr()
    key = ClientKey.from_toml(said.out, "standard output")
    assert said.err == ""
    assert not any(key.secret in path.read_text() for path in Path("keys").rglob("*.*"))


def test_a_key_goes_where_it_is_said(tmp_path: Path) -> None:
    assert keys("new", "desk", "--out", str(tmp_path / "elsewhere")) == 0

    assert read_client_key(tmp_path / "elsewhere").name == "desk"
    assert not Path("keys/desk.key").exists()


def test_a_file_that_is_there_stays_and_nobody_is_let_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_text("mine")

    assert keys("new", "desk", "--out", "notes") == 2

    assert "expected no file there yet" in capsys.readouterr().err
    assert (tmp_path / "notes").read_text() == "mine"
    assert Keyring(Path("keys")).listed() == []


def test_if_missing_makes_a_key_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also after it was revoked: whoever decided that decides it for the next start too."""
    assert keys("new", "worker", "--if-missing") == 0
    before = Path("keys/worker.key").read_text()
    assert keys("new", "worker", "--if-missing") == 0
    assert Path("keys/worker.key").read_text() == before
    assert keys("revoke", "worker") == 0
    Path("keys/worker.key").unlink()
    capsys.readouterr()
    assert keys("new", "worker", "--if-missing") == 0

    assert "worker was revoked; nothing is made" in capsys.readouterr().err
    assert not Path("keys/worker.key").exists()


@pytest.mark.parametrize("lost", ["keys/worker.key", "keys/allowed/worker.pub"])
def test_if_missing_makes_anew_what_is_there_by_halves(lost: str) -> None:
    """A start that was killed between its two files, or a volume that was lost."""
    keys("new", "worker", "--if-missing")
    Path(lost).unlink()

    assert keys("new", "worker", "--if-missing") == 0

    key = read_client_key(Path("keys/worker.key"))
    assert Keyring(Path("keys")).allowlist().allowed == {key.public: "worker"}


def test_if_missing_touches_no_file_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys("new", "desk")
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "notes").chmod(0o600)

    assert keys("new", "worker", "--if-missing", "--out", "notes") == 2
    assert keys("new", "worker", "--if-missing", "--out", "keys/desk.key") == 2

    assert (tmp_path / "notes").read_text() == "mine"
    assert read_client_key(Path("keys/desk.key")).name == "desk"
    capsys.readouterr()


def test_the_list_has_every_key_and_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("laptop", "desk"):
        keys("new", name)
    keys("revoke", "laptop")
    capsys.readouterr()

    keys("list")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    keys("list", "--json")
    listed = json.loads(capsys.readouterr().out)

    assert [line[:2] for line in lines] == [["desk", "allowed"], ["laptop", "revoked"]]
    assert [(one["name"], one["revoked"]) for one in listed] == [("desk", False), ("laptop", True)]
    assert [one["public"] for one in listed] == [line[2] for line in lines]


def test_a_directory_that_is_not_there_is_no_empty_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert keys("list", "--keys", "typo") == 2
    assert "expected a directory of keys, got none — typo" in capsys.readouterr().err


def test_the_list_tells_of_what_is_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    keys("new", "desk")
    Path("keys/allowed/odd.pub").write_text("odd")
    capsys.readouterr()

    assert keys("list") == 0
    said = capsys.readouterr()
    assert said.out.startswith("desk")
    assert "passed over a key: expected a public key, got 'odd'" in said.err


@pytest.mark.parametrize("out", [".", "..", "/", "none/desk.key"])
def test_a_place_where_no_file_can_be_is_refused(
    out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys("new", "desk", "--out", out) == 2

    assert "choose another place" in capsys.readouterr().err
    assert Keyring(Path("keys")).listed() == []


def test_the_configuration_file_says_where_keys_are(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('keys = "here"\n')
    with pytest.raises(SystemExit):
        main(["--config", "c.toml", "keys", "new", "desk"])
    (tmp_path / "c.toml").write_text('[keys]\nkeys = "there"\n')
    with pytest.raises(SystemExit):
        main(["--config", "c.toml", "keys", "new", "desk"])

    assert Path("here/desk.key").exists()
    assert Path("there/desk.key").exists()
