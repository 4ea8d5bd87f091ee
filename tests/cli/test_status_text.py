"""How a status reads: the words that people look for, and columns that stand below each other."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from cli.status_text import plain, rich
from coordinator.status import Status
from tests.coordinator.standing import MEMBER, NEWCOMER, STATUS, status_with

pytestmark = pytest.mark.unit


def on_a_terminal(status: Status, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True)
    with console.capture() as capture:
        console.print(rich(status, width))
    return capture.get()


def test_a_run_says_how_far_it_is_and_who_works_on_it() -> None:
    assert plain(STATUS).split("\n") == [
        "run 5f5f5f5f5f5f  generation 2  training  for 65 s  numerics strict",
        "step 118/1000 committed, step 100 durable  loss 2.3457  123.5 documents/s",
        "WORLD_SIZE 1  membership version 5  lost 3  hedges 2  audits 1  dropped messages 7",
        "branches 12: 4 summed, 5 leased, 3 waiting",
        "quarantined: liar-22aa",
        "refused liar-22aa (QUARANTINE): expected the bits of branch (0, 2)",
        "",
        "RANK  name     host    pid  phase      branches  documents  documents/s      heard"
        "  leases         hedges  waited for  s/document",
        "   0  w0-11be  alpha  4711  ready            12         96         41.2  0.4 s ago"
        "  (0, 2) (2, 4)       1          57      0.0213",
        "   -  w1-7f3a  alpha  4711  preparing         0         96         41.2   12 s ago"
        "  -                   1          57      0.0213",
    ]


def test_before_anybody_has_come_there_is_no_table() -> None:
    status = status_with(members=(), loss=None, durable_step=-1, quarantined=(), refusals=())

    text = plain(status)

    assert text.endswith("\n\nno workers")
    assert "loss -" in text
    assert "no step durable" in text
    assert "quarantined" not in text
    assert "no workers" in on_a_terminal(status)


def test_a_rate_that_is_no_number_is_a_dash() -> None:
    assert "loss 2.3457  - documents/s" in plain(status_with(documents_per_s=float("nan")))


@pytest.mark.parametrize("words", ["RANK", "WORLD_SIZE 1", "w0-11be", "preparing", "(2, 4)"])
def test_a_terminal_shows_the_same(words: str) -> None:
    assert words in on_a_terminal(STATUS)


def test_a_name_is_never_taken_for_markup() -> None:
    status = status_with(members=(replace(MEMBER, name="[red]w0[/red]"), NEWCOMER))

    assert "[red]w0[/red]" in on_a_terminal(status)


def test_a_narrow_terminal_gets_fewer_columns_and_whole_lines() -> None:
    *_, header, first, second = on_a_terminal(STATUS, 80).rstrip("\n").split("\n")

    assert "RANK" in header
    assert "s/document" not in header
    assert STATUS.members[0].name in first
    assert STATUS.members[1].name in second
