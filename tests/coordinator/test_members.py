"""Who is there, in which session, and how long each may be silent."""

import pytest

from coordinator.members import Member, Members

pytestmark = pytest.mark.unit


def member(peer: bytes, sid: int, **fields: object) -> Member:
    made = Member(peer, sid, "name", "host", 11, 0.0, 0.0)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_members_are_served_in_the_order_of_their_names() -> None:
    """A local coordinator shares the core of the last of them."""
    members = Members()
    names = ["worker-10-1f", "worker-2-ab", "desk-77", "worker-1-9c", "", "7"]
    for sid, name in enumerate(names):
        members.add(member(bytes([sid]), sid, name=name, ready_s=1.0))

    assert [one.name for one in members.ready] == [
        *("", "7", "desk-77", "worker-1-9c", "worker-2-ab", "worker-10-1f")
    ]


def test_members_of_one_name_are_listed_in_the_order_in_which_they_came() -> None:
    members = Members()
    for sid, peer in enumerate([b"c", b"a", b"b"]):
        members.add(member(peer, sid, ready_s=None if peer == b"a" else 1.0))

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
    one = member(b"a", 7, ready_s=1.0 if is_ready else None, document_s=document_s)

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


@pytest.mark.parametrize(("document_s", "limit_s"), [(0.01, 30.0), (2.0, 40.0)])
def test_a_member_that_only_talks_is_overdue_after_its_limit(
    document_s: float, limit_s: float
) -> None:
    """A worker whose program hangs may go on answering pings for ever."""
    one = member(b"a", 7, ready_s=1.0, document_s=document_s, leases=[1], progressed_s=5.0)
    one.last_heard_s = now = 5.0 + limit_s

    assert one.overdue(now) == ""
    assert one.overdue(now + 0.01) == "it makes no progress"


def test_a_member_without_a_lease_need_not_progress() -> None:
    one = member(b"a", 7, ready_s=1.0, last_heard_s=1000.0)

    assert one.overdue(1000.0) == ""


def test_a_session_has_a_name_once_it_was_ready_and_keeps_it() -> None:
    members = Members()
    one, other = member(b"a", 7, name="one"), member(b"b", 8, name="other")
    members.add(one)
    members.add(other)

    members.make_ready(one, 1.0)
    members.remove(one)
    members.remove(other)

    assert (members.name_of(7), members.name_of(8)) == ("one", None)
    assert (members.version, members.lost) == (2, 1)
