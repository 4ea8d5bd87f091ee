"""Which cores there are to use, and staying on one of them.

A step's messages wake three processes within a tenth of a millisecond. What then has to share a
core with a worker that computes waits until that is done, even if another core is idle. So `train`
gives every worker a core of its own where there are enough, and the coordinator one that is left.
If none is left, it takes that of the worker that is served last, which has nothing to do while the
coordinator sends.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cli.errors import UsageError


def usable_cores() -> list[int]:
    """Give the cores that this process may use, where the system says it."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def stay_on(core: int | None) -> None:
    """Keep this process, and all threads that it will have, on one core, if one is named.

    Raises:
        UsageError: the system cannot, or there is no such core.
    """
    if core is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError(f"expected a system that pins processes, got another — --core {core}")
    cores = usable_cores()
    if core not in cores:
        known = ", ".join(map(str, cores))
        raise UsageError(f"expected one of the cores {known}, got {core} — --core")
    os.sched_setaffinity(0, {core})


@dataclass(frozen=True, slots=True)
class Seats:
    """The cores of the roles of one run on this machine; None where the system should choose."""

    coordinator: int | None
    workers: tuple[int | None, ...]


def seats(cores: Sequence[int], workers: int) -> Seats:
    """Give each role its core, if there are enough for the workers."""
    if not hasattr(os, "sched_setaffinity") or workers > len(cores):
        return Seats(None, (None,) * workers)
    return Seats(cores[min(workers, len(cores) - 1)], tuple(cores[:workers]))


class Claim:
    """The cores that no other run of this user has taken, held until `release`.

    Two runs that took the same cores would wait for each other while others idle.
    """

    def __init__(self, directory: Path) -> None:
        """Take them.

        Args:
            directory: of the locks, a file for each core; where it cannot be, there are no claims.
        """
        self._locks: dict[int, BinaryIO] = {}
        with suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
            if directory.stat().st_uid != os.getuid():  # another's, who may have put links there
                return
            for core in usable_cores():
                self._take(core, directory / str(core))

    @property
    def cores(self) -> list[int]:
        return list(self._locks)

    def release(self) -> None:
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()

    def _take(self, core: int, path: Path) -> None:
        lock = path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            self._locks[core] = lock
