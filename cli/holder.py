"""Who trains in a run directory, seen from outside.

The lock itself is left alone: to try it, even for a moment, would refuse a coordinator that starts
just then. It holds the process's id and host, which are asked instead.
"""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a run directory.

    Attributes:
        is_certain: it runs on this machine; of another nobody here can say whether it still does.
    """

    process: int
    host: str
    is_certain: bool


def holder_of(run_dir: Path) -> Holder | None:
    """Give who holds a run directory; None if nobody does, as far as can be seen."""
    try:
        text = (run_dir / "LOCK").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    match = re.fullmatch(r"(\d{1,9}) on (.{1,255})", text)
    if match is None:
        return None
    process, host = int(match[1]), match[2]
    if host != socket.gethostname():
        return Holder(process, host, is_certain=False)
    return Holder(process, host, is_certain=True) if _lives(process) else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
