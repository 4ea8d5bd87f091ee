"""Memory that grows without end: no option of a plain ROUTER stops it, so somebody must watch.

A peer that sends a message of endless frames makes libzmq keep all of them, whatever the limits for
frames and messages are. A coordinator that grows far beyond what it started with saves and leaves,
instead of being killed by the machine with a step unsaved.
"""

import os
from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
LOOK_S = 0.25  # between two looks; a peer on this machine has sent 170 MiB in that time


def rss_bytes() -> int | None:
    """Give the memory of this process that is really there; None where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Compares this process with itself as it was when the watch was made."""

    def __init__(self, limit_bytes: int, read_rss: Callable[[], int | None] = rss_bytes) -> None:
        self._limit_bytes = limit_bytes
        self._read_rss = read_rss
        self._start_bytes = read_rss()
        self._looked_s = float("-inf")

    def complaint(self, now: float) -> str:
        """Say that memory has grown too much; empty if it has not, or was just looked at."""
        if self._start_bytes is None or now - self._looked_s < LOOK_S:
            return ""
        self._looked_s = now
        grown_bytes = (self._read_rss() or 0) - self._start_bytes
        if grown_bytes <= self._limit_bytes:
            return ""
        return (
            f"expected memory to grow by at most {self._limit_bytes // MIB} MiB,"
            f" got {grown_bytes // MIB} MiB — coordinator, since it started; a peer may be sending"
            " without end: find it, or raise --max-memory-growth, and go on with --resume"
        )
