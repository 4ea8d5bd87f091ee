"""Files that other processes wait for or look at again and again: each version appears whole.

They say where something is and how it does, and are of no use after a loss of power; what has to
last is written by `coordinator.files`.
"""

import os
from pathlib import Path

READABLE = 0o644


def write_whole(path: Path, text: str) -> None:
    """Put a whole file there, through no link that somebody else has laid.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.parent / f".{path.name}.tmp"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READABLE)
    with open(descriptor, "w") as file:
        file.write(text)
    temporary.rename(path)
