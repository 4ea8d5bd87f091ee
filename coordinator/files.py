"""Writing so that it is still there after the power fails: what a rename alone does not promise.

A file is written under another name, fsynced, renamed, and its directory fsynced. After an fsync
that failed, the kernel may call its pages clean although they never reached the disk; so nothing is
fsynced again: what was written is thrown away, and the next attempt is a new file.

Source: Pillai et al. 2014 (OSDI), "All file systems are not created equal"; Rebello et al. 2020
    (USENIX ATC), "Can applications recover from fsync failures?"
"""

import os
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".tmp"
PRIVATE = 0o600  # for its owner alone


def write_durably(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Put a whole file there, or leave what was there.

    Args:
        mode: who may read and write it, whatever the umask.

    Raises:
        OSError: the disk refuses; after the rename, the new file may be there and not last.
    """
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)
    try:
        _write_new(temporary, data, mode)
        os.rename(temporary, path)
    except OSError:
        with suppress(OSError):  # what cannot be removed now, the next start removes
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def temporary_of(path: Path) -> Path:
    """Give where a file is written before it has its name."""
    return path.with_name(f".{path.name}{TEMPORARY}")


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: new ones, changed ones, and those that are gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and those above it that do not exist, durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        if mode != PRIVATE:
            with suppress(OSError):  # not every file system has modes
                os.fchmod(descriptor, mode)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # may be the first to say that the disk is full
