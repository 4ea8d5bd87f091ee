"""Who is there, in which session, and how long each may be silent."""

import pytest

from coordinator.members import Member, Members

pytestmark = pytest.mark.unit


def member(peer: bytes, sid: int, **fields: object) -> Member:
    made = Member(peer, sid, "name", "host", 11, 0.0, 0.0)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_members_are_listed_in_the_order_in_which_they_came() -> None:
    members = Members()
    for sid, peer in enumerate([b"c", b"a", b"b"]):
        members.add(member(peer, sid, is_ready=peer != b"a"))

    assert [m.peer for m in members] == [b"c", b"a", b"b"]
    assert [m.peer for m in members.ready] == [b"c", b"b"]


def test_a_member_may_be_removed_while_the_others_are_walked_through() -> None:
    members = Members()
    for sid, peer in enumerate([b"a", b"b", b"c"]):
        members.add(member(peer, sid))

    for one in members:
        members.remove(one)

    assert list(members) == []


def test_a_session_belongs_to_its_peer() -> None:
    members = Members()
    one = member(b"a", 7)
    members.add(one)

    assert members.of_session(b"a", 7) is one
    assert members.of_session(b"a", 8) is None
    assert members.of_session(b"b", 7) is None
    assert members.of_peer(b"a") is one
    assert members.of_peer(b"b") is None


@pytest.mark.parametrize(
    ("is_ready", "document_s", "limit_s"),
    [
        (False, 0.0, 120.0),
        (False, 50.0, 120.0),
        (True, 0.0, 3.0),
        (True, 0.3, 3.0),
        (True, 2.0, 20.0),
    ],
)
def test_a_member_may_be_silent_for_ten_documents_and_three_seconds_at_least(
    is_ready: bool, document_s: float, limit_s: float
) -> None:
    one = member(b"a", 7, is_ready=is_ready, document_s=document_s)

    assert one.silence_limit_s == pytest.approx(limit_s)


def test_a_lease_of_a_member_that_is_not_ready_is_noticed() -> None:
    members = Members()
    members.add(member(b"a", 7, leases=[1]))

    with pytest.raises(AssertionError):
        members.check()


def test_two_members_with_one_session_are_noticed() -> None:
    members = Members()
    members.add(member(b"a", 7))
    members.add(member(b"b", 7))

    with pytest.raises(AssertionError):
        members.check()
