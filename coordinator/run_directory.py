"""One run's directory: who holds it, how often its coordinator has started, what is in it."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coordinator.errors import CheckpointUnwritable, RunDirectoryError, RunDirectoryHeld
from coordinator.files import make_directory, sync_directory, temporary_of, write_durably
from coordinator.store import CheckpointStore

REVOKED = "REVOKED"  # holds the last step whose checkpoint is right, while later ones are removed
HOLDER_BYTES = 300  # of LOCK: a process id and a host's name


class RunDirectory:
    """One run's files. Reading needs no lock; a coordinator takes it before anything else.

    Attributes:
        metrics: the file of its metrics.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.metrics = path / "metrics.jsonl"
        self._generation = path / "GENERATION"
        self._mark = path / REVOKED

    @property
    def has_begun(self) -> bool:
        """Say whether a coordinator has started here: before that, no line is one of ours."""
        return self._generation.exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and hold it for this process.

        Raises:
            RunDirectoryHeld: another coordinator holds it.
            RunDirectoryError: it cannot be made or written to.
        """
        try:
            make_directory(self.checkpoints.path)
            descriptor = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunDirectoryError(
                f"expected a directory to write to, got {error.strerror}"
                f" — {self.path}; give another --run-dir"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, HOLDER_BYTES, 0).decode(errors="replace")
                raise RunDirectoryHeld(
                    "expected a run directory of our own, got one that process"
                    f" {holder or 'unknown'} trains in"
                    f" — {self.path}; give another --run-dir or stop that process"
                ) from None
            with suppress(OSError):  # what is above may be another's, and closed to us
                sync_directory(self.path.parent)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
            self._tidy()
            yield
        finally:
            os.close(descriptor)

    def next_generation(self) -> int:
        """Count one more coordinator start, durably, and give the count.

        Raises:
            RunDirectoryError: the file holds something else.
            CheckpointUnwritable: the disk refuses.
        """
        path = self._generation
        count = path.read_text() if path.exists() else "0"
        if not count.isdecimal():
            raise RunDirectoryError(
                f"expected the number of this run's starts, got {count[:20]!r} — {path};"
                " write a number above every one it had"
            )
        generation = 1 + int(count)
        try:
            write_durably(path, str(generation).encode())
        except OSError as error:
            raise CheckpointUnwritable(
                f"expected to count this start, got {error.strerror} — {path}; make room"
            ) from None
        return generation

    def revoke(self, step: int) -> None:
        """Remove every checkpoint after a step; what a crash leaves of them, the next lock removes.

        Raises:
            CheckpointUnwritable: the disk refuses.
        """
        with suppress(OSError):  # where there is no room for the mark, files can still be removed
            write_durably(self._mark, str(step).encode())
        try:
            self._remove_after(step)
        except OSError as error:
            raise CheckpointUnwritable(
                f"expected to remove checkpoints after step {step}, got {error.strerror or error}"
                f" — {self.checkpoints.path}; they may be wrong: remove them before --resume"
            ) from None

    def _tidy(self) -> None:
        try:
            for path in (self.path, self.checkpoints.path):
                sync_directory(path)  # who died may have left names that the disk does not have
            self._remove_revoked()
            self.checkpoints.tidy()
            for path in (self._generation, self._mark, self.metrics):
                temporary_of(path).unlink(missing_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"expected to remove what is left of an earlier run, got {error.strerror}"
                f" — {self.checkpoints.path}; make it writable"
            ) from None

    def _remove_revoked(self) -> None:
        mark = self._mark
        if not mark.exists():
            return
        last = mark.read_text()
        if not last.isdecimal():
            raise RunDirectoryError(
                f"expected the last step that is not revoked, got {last[:20]!r} — {mark};"
                " write the step after which checkpoints are wrong"
            )
        self._remove_after(int(last))

    def _remove_after(self, last: int) -> None:
        self.checkpoints.remove_after(last)
        self._mark.unlink(missing_ok=True)
        sync_directory(self.path)
