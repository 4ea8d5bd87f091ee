"""The memory watch: silent while memory is what it was, a sentence when it is not."""

import pytest

from coordinator.memory import LOOK_S, MIB, MemoryWatch, rss_bytes

pytestmark = pytest.mark.unit


class Process:
    """Memory as a test wants it; counts how often somebody looks."""

    def __init__(self, rss: int | None) -> None:
        self.rss = rss
        self.looks = 0

    def __call__(self) -> int | None:
        self.looks += 1
        return self.rss


def test_growth_up_to_the_limit_is_nobodys_business() -> None:
    process = Process(100 * MIB)
    watch = MemoryWatch(64 * MIB, process)
    process.rss = 164 * MIB

    assert watch.complaint(now=10.0) == ""


def test_growth_beyond_the_limit_is_said_with_both_numbers_and_a_way_out() -> None:
    process = Process(100 * MIB)
    watch = MemoryWatch(64 * MIB, process)
    process.rss = 170 * MIB

    complaint = watch.complaint(now=10.0)

    assert complaint.startswith("expected memory to grow by at most 64 MiB, got 70 MiB")
    assert "--max-memory-growth" in complaint
    assert "\n" not in complaint


def test_memory_that_shrinks_is_no_growth() -> None:
    process = Process(100 * MIB)
    watch = MemoryWatch(64 * MIB, process)
    process.rss = 10 * MIB

    assert watch.complaint(now=10.0) == ""


def test_the_system_is_not_asked_every_turn() -> None:
    process = Process(100 * MIB)
    watch = MemoryWatch(64 * MIB, process)
    process.rss = 500 * MIB
    before = process.looks

    said = [watch.complaint(now=10.0 + LOOK_S * part / 8) for part in range(9)]

    assert process.looks == before + 2
    assert [bool(one) for one in said] == [True, *[False] * 7, True]


def test_where_nobody_can_tell_nothing_is_watched() -> None:
    process = Process(None)
    watch = MemoryWatch(0, process)
    process.rss = 500 * MIB

    assert watch.complaint(now=10.0) == ""


def test_the_memory_of_this_process_is_more_than_nothing() -> None:
    rss = rss_bytes()

    assert rss is None or MIB < rss < 1024 * 1024 * MIB
