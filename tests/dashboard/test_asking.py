"""The coordinator is asked through a real socket, and nobody is waited for twice."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.asking import Asker
from tests.dashboard.fake_coordinator import FakeCoordinator

pytestmark = pytest.mark.integration

WITHIN_S = 2.0


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.close()


def test_both_answers_come(asker: Asker, tmp_path: Path) -> None:
    with FakeCoordinator(tmp_path) as coordinator:
        coordinator.advance(3)
        answers = asker.ask(WITHIN_S)

    assert answers is not None
    assert answers.status.step == 3
    assert answers.timeline is not None
    assert [step.step for step in answers.timeline.steps] == [1, 2, 3]


def test_a_coordinator_that_knows_no_timeline_is_waited_for_once(
    asker: Asker, tmp_path: Path
) -> None:
    with FakeCoordinator(tmp_path) as coordinator:
        coordinator.knows_timeline = False
        asker.ask(WITHIN_S)
        began_s = time.monotonic()
        answers = asker.ask(WITHIN_S)

    assert answers is not None
    assert answers.timeline is None
    assert time.monotonic() - began_s < WITHIN_S / 2


def test_a_coordinator_that_has_started_again_is_found_at_its_new_address(
    asker: Asker, tmp_path: Path
) -> None:
    with FakeCoordinator(tmp_path):
        assert asker.ask(WITHIN_S) is not None
    assert asker.ask(WITHIN_S) is None
    with FakeCoordinator(tmp_path, number=5) as coordinator:
        coordinator.advance(1)
        answers = asker.ask(WITHIN_S)

    assert answers is not None
    assert answers.status.step == 6


@pytest.mark.parametrize(
    "left", ["", "no address", "tcp://127.0.0.1:0", "tcp://203.0.113.9:5555", "tcp://127.0.0.1:9"]
)
def test_what_is_left_in_the_address_file_leads_to_nobody_and_at_once(
    asker: Asker, tmp_path: Path, left: str
) -> None:
    """Only this machine is asked, and a port where nobody listens costs no wait."""
    (tmp_path / "status.address").write_text(left)
    began_s = time.monotonic()

    assert asker.ask(WITHIN_S) is None
    assert time.monotonic() - began_s < WITHIN_S / 2


def test_garbage_is_no_answer(asker: Asker, tmp_path: Path) -> None:
    class Garbled(FakeCoordinator):
        def _answer(self, question: bytes) -> bytes:
            return b"\xff{" if question == b"STATUS" else b"[]"

    with Garbled(tmp_path):
        assert asker.ask(0.5) is None
