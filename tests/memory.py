"""How much memory a process has in use, as the system sees it."""

import os
from pathlib import Path

import pytest


def rss_bytes(pid: int | str = "self") -> int:
    """Give the resident bytes of a process."""
    try:
        pages = (Path("/proc") / str(pid) / "statm").read_text().split()[1]
    except FileNotFoundError:
        pytest.skip("memory in use is read from /proc, which this system does not have")
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
