"""Which core is whose: real processes, asked where they may run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.cores import Claim, Seats, seats, stay_on, usable_cores
from cli.errors import UsageError

pytestmark = pytest.mark.unit


def told(code: str) -> object:
    """What a process of its own prints: affinity is for a whole process."""
    program = f"import os, json\nfrom cli.cores import *\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_a_process_stays_where_it_is_put() -> None:
    last = usable_cores()[-1]

    assert told(f"stay_on({last}); print(json.dumps(usable_cores()))") == [last]


def test_without_a_core_nothing_changes() -> None:
    before = os.sched_getaffinity(0)

    stay_on(None)

    assert os.sched_getaffinity(0) == before


def test_a_core_that_there_is_not_is_named_with_those_that_there_are() -> None:
    known = ", ".join(map(str, usable_cores()))

    with pytest.raises(UsageError, match=f"expected one of the cores {known}, got 4095 — --core"):
        stay_on(4095)


def test_workers_and_coordinator_share_no_core_if_there_are_enough() -> None:
    assert seats([2, 3, 5, 7], 2) == Seats(5, (2, 3))


def test_a_coordinator_without_a_core_left_shares_that_of_the_last_worker() -> None:
    """It is served last, and has nothing to do while the coordinator sends."""
    assert seats([2, 3], 2) == Seats(3, (2, 3))


def test_more_workers_than_cores_go_where_the_system_wants() -> None:
    assert seats([2, 3], 3) == Seats(None, (None, None, None))


def test_a_core_is_claimed_by_one_run_at_a_time(tmp_path: Path) -> None:
    """Two runs on the first two cores would wait for each other, whatever else is idle."""
    first, second = Claim(tmp_path / "cores"), Claim(tmp_path / "cores")

    assert first.cores == usable_cores()
    assert second.cores == []
    first.release()
    third = Claim(tmp_path / "cores")
    assert third.cores == usable_cores()
    third.release()


def test_where_there_can_be_no_locks_nothing_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert Claim(tmp_path / "file" / "cores").cores == []
