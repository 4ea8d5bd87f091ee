"""A page that was sent a view and all differences since has the present one."""

from dataclasses import replace
from typing import Any

import pytest

from dashboard.view import GROWING, View, difference, everything

pytestmark = pytest.mark.unit

EMPTY = View()
SOME = View(
    state="here",
    run={"step": 3},
    losses=[[1, 3.0], [2, 2.5], [3, 2.0]],
    names=[{"step": 2, "names": ["a"]}],
)


def applied(page: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """Do what the page's script does."""
    page = dict(page)
    for name, value in news.items():
        if name in GROWING:
            page[name] = page[name][: value["from"]] + value["items"]
        else:
            page[name] = value
    return page


def test_of_a_curve_that_has_grown_only_the_end_is_sent() -> None:
    after = replace(SOME, losses=[*SOME.losses, [4, 1.5]])

    assert difference(SOME, after) == {"losses": {"from": 3, "items": [[4, 1.5]]}}


def test_nothing_is_sent_if_nothing_has_changed() -> None:
    assert difference(SOME, replace(SOME)) == {}


@pytest.mark.parametrize(
    "after",
    [
        SOME,
        EMPTY,
        replace(SOME, losses=[[1, 3.0], [2, 2.5]]),
        replace(SOME, losses=[[2, 2.75], [3, 2.0]]),
        replace(SOME, losses=[[1, 3.0], [2, 2.5], [3, 2.0], [4, None]]),
        replace(SOME, state="away", names=[]),
    ],
)
@pytest.mark.parametrize("before", [EMPTY, SOME])
def test_a_view_and_the_difference_give_the_other(before: View, after: View) -> None:
    assert applied(everything(before), difference(before, after)) == everything(after)
