"""A directory of keys: made, listed, revoked, and refused where others can read it."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from wire.errors import KeysError
from wire.keyring import Keyring, read_client_key, write_secret
from wire.keys import ClientKey

pytestmark = pytest.mark.integration


def made(keyring: Keyring, name: str) -> ClientKey:
    handed: list[ClientKey] = []
    keyring.new(name, handed.append)
    return handed[0]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


def test_a_new_key_is_let_in_and_knows_its_server(keyring: Keyring) -> None:
    desk = made(keyring, "desk")

    assert desk.server == keyring.server_key().public
    assert keyring.allowlist().objection(desk.public) == ""
    assert keyring.allowlist().name_of(desk.public) == "desk"


def test_every_key_is_another(keyring: Keyring) -> None:
    names = [f"w{i}" for i in range(5)]
    keys = [made(keyring, name) for name in names]

    assert len({key.public for key in keys} | {key.secret for key in keys}) == 10
    assert len({key.server for key in keys}) == 1
    assert [key.name for key in keyring.listed()] == names


def test_nobody_else_can_read_what_is_made(keyring: Keyring, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made(keyring, "desk")
        write_secret(tmp_path / "desk.key", "text")
    finally:
        os.umask(before)

    for path in (tmp_path / "desk.key", *keyring.path.rglob("*"), keyring.path):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o777])
def test_a_secret_that_others_can_read_or_write_is_refused(
    keyring: Keyring, tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "desk.key"
    keyring.new("desk", lambda key: write_secret(path, key.to_toml()))
    server = keyring.path / "server.key"
    for secret in (path, server):
        secret.chmod(mode)

    with pytest.raises(KeysError, match=f"only its owner can read, got mode 0{mode:o} — {path}"):
        read_client_key(path)
    with pytest.raises(KeysError, match=f"only its owner can read, got mode 0{mode:o} — {server}"):
        keyring.server_key()


@pytest.mark.parametrize("where", [".", "allowed", "revoked"])
def test_a_directory_in_which_others_can_write_is_refused(keyring: Keyring, where: str) -> None:
    made(keyring, "desk")
    (keyring.path / where).chmod(0o770)

    with pytest.raises(KeysError, match="only its owner can write to, got mode 0770"):
        keyring.server_key()


def test_a_key_file_is_read_by_whoever_it_was_made_for(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "desk.key"
    handed: list[ClientKey] = []

    def hand_over(key: ClientKey) -> None:
        handed.append(key)
        write_secret(path, key.to_toml())

    keyring.new("desk", hand_over)

    assert read_client_key(path) == handed[0]


def test_a_public_key_that_is_not_its_secrets_is_refused(keyring: Keyring, tmp_path: Path) -> None:
    desk, other = made(keyring, "desk"), made(keyring, "other")
    path = tmp_path / "desk.key"
    mixed = ClientKey("desk", other.public, desk.server, desk.secret)
    write_secret(path, mixed.to_toml())

    with pytest.raises(KeysError, match="not that of the secret beside it"):
        read_client_key(path)


@pytest.mark.parametrize("which", ["public", "server", "secret"])
def test_what_has_the_form_of_a_key_and_is_no_number_is_refused(
    keyring: Keyring, tmp_path: Path, which: str
) -> None:
    """85 to the fifth is more than 2 to the 32nd."""
    path = tmp_path / "desk.key"
    write_secret(path, replace(made(keyring, "desk"), **{which: "#" * 40}).to_toml())

    with pytest.raises(KeysError, match="copy the file again"):
        read_client_key(path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "-x", "ä", "x" * 49, "a b", "a\n", "server"]
)
def test_a_name_that_could_be_more_than_a_name_is_refused(keyring: Keyring, name: str) -> None:
    with pytest.raises(KeysError, match="expected a name of 1 to 48 letters"):
        made(keyring, name)
    assert not keyring.path.exists()


def test_a_name_is_given_once(keyring: Keyring) -> None:
    desk = made(keyring, "desk")

    with pytest.raises(KeysError, match="'desk' which has a key"):
        made(keyring, "desk")
    assert keyring.allowlist().allowed == {desk.public: "desk"}


def test_a_key_whose_file_cannot_be_written_is_not_let_in(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "desk.key"
    path.write_text("something of value")

    with pytest.raises(KeysError, match="expected no file there yet"):
        keyring.new("desk", lambda key: write_secret(path, key.to_toml()))

    assert path.read_text() == "something of value"
    assert keyring.listed() == []


def test_a_revoked_key_is_known_as_such_and_its_name_is_gone(keyring: Keyring) -> None:
    desk, laptop = made(keyring, "desk"), made(keyring, "laptop")

    keyring.revoke("desk")

    allowlist = keyring.allowlist()
    assert allowlist.objection(desk.public) == "has a key that was revoked, 'desk'"
    assert allowlist.objection(laptop.public) == ""
    with pytest.raises(KeysError, match="'desk' which was revoked"):
        made(keyring, "desk")


def test_to_revoke_what_is_not_allowed_names_what_is(keyring: Keyring) -> None:
    made(keyring, "desk")
    made(keyring, "laptop")

    with pytest.raises(KeysError, match=r"\(desk, laptop\), got 'dsek'"):
        keyring.revoke("dsek")
    keyring.revoke("desk")
    with pytest.raises(KeysError, match=r"\(laptop\), got 'desk'"):
        keyring.revoke("desk")


def test_to_revoke_needs_no_directory_of_revoked_keys(keyring: Keyring) -> None:
    """An empty one is lost by some ways of copying."""
    desk = made(keyring, "desk")
    (keyring.path / "revoked").rmdir()

    keyring.revoke("desk")

    assert "revoked" in keyring.allowlist().objection(desk.public)


def test_one_who_holds_the_lock_keeps_nobody_for_ever(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(keyring, "desk")
    monkeypatch.setattr("wire.keyring.LOCK_S", 0.2)
    with (keyring.path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(KeysError, match=r"expected to be alone within 0\.2 s"):
            made(keyring, "laptop")
        keyring.revoke("desk")

    made(keyring, "laptop")
    assert [(key.name, key.is_revoked) for key in keyring.listed()] == [
        ("desk", True),
        ("laptop", False),
    ]


@pytest.mark.parametrize("kind", ["fifo", "link", "loop", "directory", "open to others", "huge"])
def test_an_odd_file_lets_nobody_in_and_holds_nobody_up(keyring: Keyring, kind: str) -> None:
    desk, laptop = made(keyring, "desk"), made(keyring, "laptop")
    odd = keyring.path / "allowed" / "odd.pub"
    keyring.revoke("laptop")
    match kind:
        case "fifo":
            os.mkfifo(odd)
        case "link":
            odd.symlink_to(keyring.path / "revoked" / "laptop.pub")
        case "loop":
            odd.symlink_to(odd)
        case "directory":
            odd.mkdir()
        case "open to others":
            odd.write_text("k" * 40)
            odd.chmod(0o666)
        case "huge":
            odd.write_text("k" * 1_000_000)

    allowlist = keyring.allowlist()

    assert allowlist.allowed == {desk.public: "desk"}
    assert "revoked" in allowlist.objection(laptop.public)
    assert len(keyring.complaints) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="to give files to others needs root")
def test_what_another_user_owns_is_not_believed(keyring: Keyring) -> None:
    made(keyring, "desk")
    made(keyring, "laptop")
    os.chown(keyring.path / "allowed" / "laptop.pub", 10001, 10001)

    assert list(keyring.allowlist().allowed.values()) == ["desk"]
    os.chown(keyring.path / "allowed", 10001, 10001)
    with pytest.raises(KeysError, match="got owner 10001"):
        keyring.allowlist()


def test_nothing_is_left_where_a_key_could_not_be_written(
    keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret in a file that nobody knows of is a secret that others may find."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(KeysError, match="expected to write a key file, got No space left"):
        write_secret(tmp_path / "desk.key", "secret")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["server_key", "revoke"])
def test_without_a_directory_the_way_to_one_is_named(keyring: Keyring, what: str) -> None:
    ask = keyring.server_key if what == "server_key" else lambda: keyring.revoke("desk")

    with pytest.raises(KeysError, match=f"gradflock keys new NAME --keys {keyring.path}"):
        ask()


def test_a_file_that_is_no_public_key_lets_nobody_in_and_is_told_of(keyring: Keyring) -> None:
    desk = made(keyring, "desk")
    (keyring.path / "allowed" / "odd.pub").write_bytes(b"\xff no key")
    (keyring.path / "allowed" / "notes.txt").write_text("not looked at")

    assert keyring.allowlist().allowed == {desk.public: "desk"}
    (complaint,) = keyring.complaints
    assert complaint.startswith("expected a public key, got")


def test_whoever_asks_at_once_gets_one_key_for_one_name(keyring: Keyring) -> None:
    """The lock is between processes; a thread has its own descriptor, and waits alike."""
    handed: list[ClientKey] = []
    refused: list[KeysError] = []

    def ask() -> None:
        try:
            Keyring(keyring.path).new("desk", handed.append)
        except KeysError as error:
            refused.append(error)

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(handed) == 1
    assert len(refused) == 7
    assert keyring.allowlist().allowed == {handed[0].public: "desk"}


def test_the_stamp_changes_with_the_list_and_only_then(keyring: Keyring) -> None:
    stamps = [keyring.stamp()]
    made(keyring, "desk")
    stamps.append(keyring.stamp())
    made(keyring, "laptop")
    stamps.append(keyring.stamp())
    keyring.revoke("desk")
    stamps.append(keyring.stamp())

    assert len(set(stamps)) == 4
    assert keyring.stamp() == stamps[-1]


def test_a_key_that_is_made_anew_is_seen_and_counts_alone(keyring: Keyring) -> None:
    """Its name and its file are those of the one before."""
    old, before = made(keyring, "desk"), keyring.stamp()
    handed: list[ClientKey] = []

    assert keyring.make_anew("desk", handed.append)

    assert keyring.stamp() != before
    assert keyring.allowlist().allowed == {handed[0].public: "desk"}
    assert keyring.allowlist().objection(old.public)
