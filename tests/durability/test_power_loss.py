"""The power fails after any call: whatever the disk has by then, nothing durable is lost.

SIGKILL cannot find a missing fsync, for the system still has what was written; so the calls of a
life are recorded, and every disk that they allow is made and started on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.children import Children
from tests.durability.lives import LIVES, Life
from tests.durability.mutants import MUTANTS, Mutant
from tests.durability.promises import Broken
from tests.durability.strace import KILLED, REFUSED, Call
from tests.durability.trials import Trials

pytestmark = pytest.mark.integration


def names(value: object) -> str:
    return value.name if isinstance(value, Life) else str(value)


def fsyncs(trials: Trials) -> list[Call]:
    return [call for call in trials.points() if call.name == "fsync"]


@pytest.mark.parametrize("life", LIVES, ids=names)
def test_no_disk_that_a_power_failure_leaves_breaks_a_promise(
    life: Life, room: Path, children: Children
) -> None:
    trials = Trials(life, room, children)

    states = 0
    for state, said in trials.lose_power():
        trials.restart(state, said)
        states += 1

    assert states > 50


@pytest.mark.long
@pytest.mark.parametrize("what", [KILLED, REFUSED])
@pytest.mark.parametrize("life", LIVES, ids=names)
def test_a_power_failure_after_another_mishap_breaks_no_promise(
    life: Life, what: str, room: Path, children: Children
) -> None:
    """Before it, the coordinator died at an fsync and another went on, or an fsync was refused."""
    trials = Trials(life, room, children)
    is_marked = what != REFUSED or not life.goes_back

    for call in fsyncs(trials):
        for state, said in trials.lose_power(call, what):
            trials.restart(state, said, goes_on=is_marked, is_marked=is_marked)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_recipe_with_a_gap_is_caught(name: str, room: Path, children: Children) -> None:
    """A test of the tests."""
    mutant = MUTANTS[name]
    (life,) = (life for life in LIVES if life.name == mutant.life)

    with mutant.planted():
        trials = Trials(life, room, children, name)
        is_caught = any(found == mutant.promise for found in broken_promises(trials, mutant))

    assert is_caught, f"no disk shows it: {mutant.bug}"


def broken_promises(trials: Trials, mutant: Mutant) -> Iterator[str]:
    cuts: list[tuple[Call | None, str]] = [(None, "")]
    if mutant.cut is not None:
        what, place = mutant.cut
        cuts = [(call, what) for call in fsyncs(trials) if call.place().endswith(place)]
    for call, what in cuts:
        for state, said in trials.lose_power(call, what):
            try:
                trials.restart(state, said, goes_on=False)
            except Broken as broken:
                yield broken.promise
