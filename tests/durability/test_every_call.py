"""Every call to the file system in a coordinator's life is made to fail, and made the last.

Not tried: a write that takes fewer bytes than it was given and then succeeds, which strace cannot
inject without losing data.
"""

from pathlib import Path

import pytest

from tests.durability.children import Children
from tests.durability.lives import LIVES, Life
from tests.durability.strace import KILLED, REFUSED
from tests.durability.trials import Trials

pytestmark = pytest.mark.integration

IN_THE_GATE = "goes on"
FULL = "error=ENOSPC"
POINTS_MIN = 140  # fewer, and the calls are not seen


def marks(life: Life, what: str) -> tuple[pytest.MarkDecorator, ...]:
    return () if what == KILLED and life.name == IN_THE_GATE else (pytest.mark.long,)


@pytest.mark.parametrize(
    ("life", "what"),
    [
        pytest.param(life, what, marks=marks(life, what), id=f"{life.name}-{what}")
        for life in LIVES
        for what in (KILLED, REFUSED, FULL)
    ],
)
def test_whatever_happens_to_any_call_nothing_durable_is_lost(
    life: Life, what: str, room: Path, children: Children
) -> None:
    trials = Trials(life, room, children)
    points = trials.points()
    assert len(points) > POINTS_MIN

    for call in points:
        trials.meddle(call, what)
