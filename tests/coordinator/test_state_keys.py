"""Keys in the coordinator's machine: who is shown out, and what is told of strangers."""

import pytest

from coordinator import events
from coordinator.effects import Send
from coordinator.facts import ConnectionRefused, MemberLost, PeerRefused
from tests.coordinator.scenario import Scenario, sent, small_run, tasks, told
from wire.messages import KEY, Refuse
from wire.thinning import BURST

pytestmark = pytest.mark.unit


def test_a_member_whose_key_is_revoked_is_told_and_its_branches_go_to_others() -> None:
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    scenario.join(b"b")

    effects = scenario.handle(events.KeyRevoked(b"a", "desk"))

    lost, refused = told(effects)
    assert lost == MemberLost("wa", "its key was revoked", 1, 1)
    assert isinstance(refused, PeerRefused)
    (refuse,) = sent(effects, b"a")
    assert isinstance(refuse, Refuse)
    assert (refuse.code, refuse.permanent) == (KEY, True)
    assert "'desk', which was revoked" in refuse.text
    assert [(one.lo, one.hi) for one in tasks(effects, b"b")] == [(task.lo, task.hi)]


def test_an_answer_of_one_who_was_shown_out_does_not_count() -> None:
    """The transport drops it; should it come through all the same, the session is gone."""
    scenario = Scenario(small_run(shards=1))
    (task,) = scenario.join(b"a")
    scenario.handle(events.KeyRevoked(b"a", "desk"))

    scenario.answer(b"a", task)

    assert scenario.training.step == 0


def test_one_who_was_let_in_and_is_no_member_is_told_too() -> None:
    scenario = Scenario(small_run())

    effects = scenario.handle(events.KeyRevoked(b"a", "de\nsk"))

    assert isinstance(effects[0], Send)
    assert effects[0].peer == b"a"
    assert "\n" not in str(effects)


def test_each_stranger_has_a_line_until_they_are_a_flood() -> None:
    scenario = Scenario(small_run())

    def knock(now: float) -> list[object]:
        return told(scenario.handle(events.StrangerLeft("10.0.0.7", "has no CURVE keys"), now))

    facts = [fact for _ in range(1000) for fact in knock(5.0)]

    assert facts[0] == ConnectionRefused("10.0.0.7", "has no CURVE keys", 1)
    assert len(facts) == BURST
    (later,) = knock(60.0)
    assert later == ConnectionRefused("10.0.0.7", "has no CURVE keys", 1001)
