"""CURVE sockets: who gets in, what the others are told, and who is cut when a list changes."""

import resource
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zmq

from tests.wire.test_transport import port_of, until
from tests.wire.zmtp import greeting
from wire.doorkeeper import Doorkeeper
from wire.keyring import Keyring
from wire.keys import Allowlist, ClientKey, ServerKey
from wire.security import new_client_key, new_server_key
from wire.transport import Change, Connection, Listener, Stranger

pytestmark = pytest.mark.integration

HERE = "127.0.0.1"
HUNG_UP = "hung up during the handshake"


@dataclass(frozen=True)
class Keys:
    server: ServerKey
    desk: ClientKey
    laptop: ClientKey
    unlisted: ClientKey
    revoked: ClientKey

    @property
    def allowlist(self) -> Allowlist:
        return Allowlist(
            {self.desk.public: "desk", self.laptop.public: "laptop"}, {self.revoked.public: "old"}
        )


@pytest.fixture(scope="module")
def keys() -> Keys:
    server = new_server_key()
    names = ("desk", "laptop", "unlisted", "old")
    return Keys(server, *(new_client_key(name, server.public) for name in names))


@pytest.fixture
def listener(keys: Keys) -> Iterator[Listener]:
    with Listener("tcp://127.0.0.1:0", security=(keys.server, keys.allowlist)) as listener:
        yield listener


def enter(listener: Listener, key: ClientKey) -> tuple[Connection, bytes]:
    connection = Connection(listener.address, key)
    connection.send([b"hello"])
    peer, frames = until([listener], listener.receive)
    assert frames == [b"hello"]
    return connection, peer


@contextmanager
def seated(listener: Listener, key: ClientKey) -> "Iterator[zmq.Socket[bytes]]":
    """A listed peer of somebody else's program, which chooses its routing id."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as theirs:
        theirs.set(zmq.LINGER, 500)
        theirs.set(zmq.ROUTING_ID, b"seat")
        theirs.set(zmq.CURVE_PUBLICKEY, key.public.encode())
        theirs.set(zmq.CURVE_SECRETKEY, key.secret.encode())
        theirs.set(zmq.CURVE_SERVERKEY, key.server.encode())
        theirs.connect(listener.address)
        yield theirs


def heard(listener: Listener, within_s: float = 0.5) -> list[tuple[bytes, list[bytes]]]:
    """Give all that is heard in a time in which what was sent arrives."""
    messages = []
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        listener.wait(0.05)
        if message := listener.receive():
            messages.append(message)
    return messages


def outcome(listener: Listener, connection: Connection) -> tuple[Stranger, Change]:
    """Give what each end says of a handshake that failed; nothing may have come through."""
    both: list[list[object]] = [[], []]

    def ask() -> bool:
        both[0] += listener.strangers()
        both[1] += connection.changes()
        assert listener.receive() is None
        return all(both)

    until([listener, connection], ask)
    stranger, change = both[0][0], both[1][0]
    assert isinstance(stranger, Stranger)
    assert isinstance(change, Change)
    assert not change.is_up
    return stranger, change


def test_whoever_is_listed_is_heard_and_answered(listener: Listener, keys: Keys) -> None:
    connection, peer = enter(listener, keys.desk)
    with connection:
        listener.send(peer, [b"welcome"])

        assert until([connection], connection.receive) == [b"welcome"]
        assert until([connection], connection.changes) == [Change(is_up=True)]
        assert listener.strangers() == []


def test_two_with_the_same_key_are_two_peers(listener: Listener, keys: Keys) -> None:
    first, one = enter(listener, keys.desk)
    second, other = enter(listener, keys.desk)
    with first, second:
        assert one != other


@pytest.mark.parametrize("whose", ["unlisted", "revoked"])
def test_a_key_that_is_not_allowed_is_refused_by_name(
    listener: Listener, keys: Keys, whose: str
) -> None:
    key: ClientKey = getattr(keys, whose)
    with Connection(listener.address, key) as connection:
        connection.send([b"hello"])
        stranger, change = outcome(listener, connection)

    assert stranger == Stranger(HERE, keys.allowlist.objection(key.public))
    assert "refused this key" in change.reason


def test_one_who_expects_another_server_is_refused_by_both(listener: Listener, keys: Keys) -> None:
    wrong = replace(keys.desk, server=new_server_key().public)
    with Connection(listener.address, wrong) as connection:
        connection.send([b"hello"])
        stranger, change = outcome(listener, connection)

    assert stranger.wrong.startswith("has the key of another server")
    assert "may have other keys than this key file says" in change.reason


def test_one_without_keys_is_refused_by_both(listener: Listener) -> None:
    """Who sees it first, hangs up; the other says what may be the cause."""
    with Connection(listener.address) as connection:
        connection.send([b"hello"])
        stranger, change = outcome(listener, connection)

    assert stranger.wrong.startswith(("has no CURVE keys", f"{HUNG_UP}; it may have no CURVE keys"))
    assert "wants CURVE keys" in change.reason or "may want CURVE keys" in change.reason


def test_one_with_keys_is_refused_by_a_plain_socket(keys: Keys) -> None:
    with (
        Listener("tcp://127.0.0.1:0") as listener,
        Connection(listener.address, keys.desk) as connection,
    ):
        connection.send([b"hello"])
        stranger, change = outcome(listener, connection)

    assert stranger.wrong.startswith(("uses CURVE keys", HUNG_UP))
    assert "uses no CURVE keys" in change.reason or HUNG_UP in change.reason


def test_a_password_is_no_key(listener: Listener) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as theirs:
        theirs.set(zmq.LINGER, 0)
        theirs.set(zmq.PLAIN_USERNAME, b"desk")
        theirs.set(zmq.PLAIN_PASSWORD, b"desk")
        theirs.connect(listener.address)
        theirs.send(b"hello")
        stranger = until([listener], listener.strangers)[0]

    assert stranger.wrong.startswith(("has no CURVE keys", HUNG_UP))
    assert listener.receive() is None


def test_a_stranger_on_a_socket_with_keys_has_its_address(listener: Listener) -> None:
    listener.wait(5.0)
    listener.departed()  # that it listens is known
    with socket.create_connection((HERE, port_of(listener))) as raw:
        listener.wait(5.0)
        listener.departed()  # that somebody came is known before the connection ends
        raw.sendall(greeting())

        assert until([listener], listener.strangers)[0].address == HERE


def test_the_refused_leave_nothing_behind(listener: Listener, keys: Keys) -> None:
    """Each is told of once, and none is taken for a later stranger or a member that leaves."""
    for _ in range(20):
        with Connection(listener.address, keys.unlisted):
            assert len(until([listener], listener.strangers)) == 1
    connection, peer = enter(listener, keys.desk)
    connection.close()

    assert until([listener], listener.departed) == [peer]
    assert listener.strangers() == []


# ---- a list that changes ------------------------------------------------------------------------


def test_a_peer_whose_key_is_revoked_can_be_told_and_is_cut(listener: Listener, keys: Keys) -> None:
    connection, peer = enter(listener, keys.desk)
    other, _ = enter(listener, keys.laptop)
    with connection, other:
        revoked = Allowlist({keys.laptop.public: "laptop"}, {keys.desk.public: "desk"})

        assert listener.allow(revoked) == [(peer, "desk")]
        assert listener.allow(revoked) == []
        assert listener.send(peer, [b"goodbye"])
        assert until([connection], connection.receive) == [b"goodbye"]
        listener.cut(peer)

        assert until([listener], listener.departed) == [peer]
        again = until([listener], listener.strangers)  # it comes back, and finds the door shut
        assert again[0].wrong == "has a key that was revoked, 'desk'"
        other.send([b"still here"])
        assert until([listener], listener.receive)[1] == [b"still here"]


def test_what_a_revoked_peer_has_said_before_is_not_heard(listener: Listener, keys: Keys) -> None:
    connection, _ = enter(listener, keys.desk)
    with connection, Connection(listener.address, keys.laptop) as other:
        connection.send([b"one more gradient"])
        until([connection], lambda: connection.wait(0.1) or True)
        listener.allow(Allowlist({keys.laptop.public: "laptop"}, {}))
        other.send([b"hello"])

        assert until([listener], listener.receive)[1] == [b"hello"]


def test_one_who_was_let_in_and_said_nothing_is_cut_too(listener: Listener, keys: Keys) -> None:
    with Connection(listener.address, keys.desk) as connection:
        until([listener, connection], lambda: connection.changes() or connection.is_up)
        listener.departed()  # that it has come is known

        assert listener.allow(Allowlist({}, {})) == []
        assert not until([listener, connection], connection.changes)[0].is_up
        connection.send([b"hello"])
        wrong = [until([listener], listener.strangers)[0].wrong for _ in range(2)]
        assert any("not in the allowlist" in one for one in wrong)
        assert listener.receive() is None


def test_a_revoked_peer_of_a_routing_id_that_it_chose_is_not_heard(
    listener: Listener, keys: Keys
) -> None:
    """It has been here before under this id, so that its going is known already."""
    for _ in range(3):
        with seated(listener, keys.desk) as theirs:
            theirs.send(b"hello")
            peer, _ = until([listener], listener.receive)
        assert peer == b"seat"
        until([listener], lambda: listener.departed() or None)
    with seated(listener, keys.desk) as theirs:
        theirs.send(b"hello")
        until([listener], listener.receive)

        assert listener.allow(Allowlist({}, {keys.desk.public: "desk"})) == [(b"seat", "desk")]
        theirs.send(b"one more gradient")
        assert heard(listener) == []
        listener.cut(peer)
        assert until([listener], listener.departed) == [peer]


def test_a_revoked_peer_of_which_nothing_is_known_is_not_heard(
    listener: Listener, keys: Keys
) -> None:
    """The books may be wrong about a peer, as those of one that takes another's id by hand."""
    connection, peer = enter(listener, keys.desk)
    with connection:
        listener.allow(Allowlist({}, {}))
        listener._gone.append(peer)
        listener._peer_of_connection.clear()
        connection.send([b"one more gradient"])

        assert heard(listener) == []


def test_as_many_as_come_with_one_key_are_all_shown_out(listener: Listener, keys: Keys) -> None:
    peers = [enter(listener, keys.desk) for _ in range(30)]
    try:
        for connection, _ in peers:
            connection.send([b"one more"])
        until([peers[-1][0]], lambda: peers[-1][0].wait(0.2) or True)

        found = listener.allow(Allowlist({}, {keys.desk.public: "desk"}))

        assert sorted(peer for peer, _ in found) == sorted(peer for _, peer in peers)
        assert heard(listener) == []
    finally:
        for connection, _ in peers:
            connection.close(linger_ms=0)


def test_a_doorkeeper_lets_in_and_shows_out_as_its_directory_changes(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    handed: list[ClientKey] = []
    keyring.new("desk", handed.append)
    said: list[str] = []
    keeper = Doorkeeper(tmp_path, said.append)
    now = 0.0

    def look() -> list[tuple[bytes, str]]:
        nonlocal now
        now += 1.0
        return keeper.look(listener, now)

    with Listener("tcp://127.0.0.1:0", security=keeper.security) as listener:
        connection, peer = enter(listener, handed[0])
        with connection:
            assert look() == []
            keyring.new("laptop", handed.append)
            assert look() == []
            other, _ = enter(listener, handed[1])
            with other:
                keyring.revoke("desk")

                assert look() == [(peer, "desk")]
                assert look() == []
                assert until([listener], listener.departed) == [peer]
    assert said == []


def test_a_doorkeeper_passes_over_what_is_no_key_and_sees_what_else_changes(
    tmp_path: Path,
) -> None:
    """One odd file must not keep a revocation from being seen."""
    keyring = Keyring(tmp_path)
    handed: list[ClientKey] = []
    keyring.new("desk", handed.append)
    said: list[str] = []
    keeper = Doorkeeper(tmp_path, said.append)
    odd = tmp_path / "allowed" / "odd.pub"
    with Listener("tcp://127.0.0.1:0", security=keeper.security) as listener:
        odd.symlink_to("nowhere")

        assert keeper.look(listener, 1.0) == []
        assert keeper.look(listener, 2.0) == []
        assert len(said) == 1
        assert "passed over a key: expected a public key, got Too many levels" in said[0]
        connection, _ = enter(listener, handed[0])
        connection.close()

        keyring.revoke("desk")
        keeper.look(listener, 3.0)
        with Connection(listener.address, handed[0]) as late:
            late.send([b"hello"])
            assert "revoked" in until([listener], listener.strangers)[0].wrong


def test_a_doorkeeper_keeps_the_last_list_while_it_cannot_read(tmp_path: Path) -> None:
    """Whoever fills the process with connections must not have the honest cut off."""
    keyring = Keyring(tmp_path)
    handed: list[ClientKey] = []
    keyring.new("desk", handed.append)
    said: list[str] = []
    keeper = Doorkeeper(tmp_path, said.append)
    with Listener("tcp://127.0.0.1:0", security=keeper.security) as listener:
        connection, peer = enter(listener, handed[0])
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with connection:
            keyring.revoke("desk")
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                assert keeper.look(listener, 1.0) == []
                assert keeper.look(listener, 2.0) == []
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert len(said) == 1
            assert "Too many open files" in said[0]

            assert keeper.look(listener, 3.0) == [(peer, "desk")]


def test_a_directory_that_is_gone_shows_everybody_out_by_name(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keys")
    handed: list[ClientKey] = []
    keyring.new("desk", handed.append)
    keeper = Doorkeeper(keyring.path, print)
    with Listener("tcp://127.0.0.1:0", security=keeper.security) as listener:
        connection, peer = enter(listener, handed[0])
        with connection:
            shutil.rmtree(keyring.path)

            assert keeper.look(listener, 1.0) == [(peer, "desk")]
