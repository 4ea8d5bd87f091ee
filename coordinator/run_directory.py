"""One run's directory: who holds it, how often its coordinator has started, what is in it."""

import fcntl
import os
import re
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
        self._lock = path / "LOCK"
        self._descriptor: int | None = None  # of the lock, while it is held
        self._is_changing = False

    @property
    def has_begun(self) -> bool:
        """Say whether a coordinator has started here: before that, no line is one of ours."""
        return self._generation.exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and hold it for this process.

        Where a save does not end, the directory stays held until the process does.

        Raises:
            RunDirectoryHeld: another coordinator holds it.
            RunDirectoryError: it cannot be made or written to.
        """
        descriptor = self._open_lock()
        try:
            self._claim(descriptor)
            self._descriptor = descriptor
            self.checkpoints.holding = self._holding
            with suppress(OSError):  # what is above may be another's, and closed to us
                sync_directory(self.path.parent)
            self._tidy()
            yield
        finally:
            if self._descriptor == descriptor:
                self._descriptor = None  # first: a save that begins now is refused, or seen below
            if not self._is_changing:
                os.close(descriptor)

    def next_generation(self) -> int:
        """Count one more coordinator start, durably, and give the count.

        Raises:
            RunDirectoryError: the file holds something else.
            CheckpointUnwritable: the disk refuses.
        """
        path = self._generation
        count = _number_in(
            path, "the number of this run's starts", "write a number above every one it had"
        )
        generation = 1 + (count or 0)
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
        with self._holding():
            with suppress(OSError):  # without room for the mark, files can still be removed
                write_durably(self._mark, str(step).encode())
            try:
                self._remove_after(step)
            except OSError as error:
                raise CheckpointUnwritable(
                    f"expected to remove checkpoints after step {step}, got"
                    f" {error.strerror or error} — {self.checkpoints.path};"
                    " they may be wrong: remove them before --resume"
                ) from None

    def last_unrevoked(self) -> int | None:
        """Give the step after which checkpoints are being removed; None if there is no such mark.

        Raises:
            RunDirectoryError: the mark holds something else.
        """
        return _number_in(
            self._mark,
            "the last step that is not revoked",
            "write the step after which checkpoints are wrong",
        )

    def _open_lock(self) -> int:
        try:
            make_directory(self.checkpoints.path)
            return os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunDirectoryError(
                f"expected a directory to write to, got {error.strerror}"
                f" — {self.path}; give another --run-dir"
            ) from None

    def _claim(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, HOLDER_BYTES, 0).decode(errors="replace")
            raise RunDirectoryHeld(
                "expected a run directory of our own, got one that process"
                f" {holder or 'unknown'} trains in"
                f" — {self.path}; give another --run-dir or stop that process"
            ) from None
        except OSError as error:
            raise RunDirectoryError(
                f"expected to hold the run directory, got {error.strerror}"
                f" — {self._lock}; give another --run-dir"
            ) from None
        if loss := self._loss(descriptor):  # between the two calls
            raise RunDirectoryError(
                f"expected to hold the run directory, got it {loss} — {self._lock}; try again"
            )
        with suppress(OSError):  # people are told who; a full disk has no room for that
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Change checkpoints: that goes by path, and the lock does not.

        Raises:
            CheckpointUnwritable: the directory at the path is not the one that is held.
        """
        self._is_changing = True
        try:
            descriptor = self._descriptor
            loss = "free" if descriptor is None else self._loss(descriptor)
            if loss:
                raise CheckpointUnwritable(
                    f"expected to hold the run directory, got it {loss} — {self._lock};"
                    " another coordinator may train there: stop this one"
                )
            yield
        finally:
            self._is_changing = False

    def _loss(self, descriptor: int) -> str:
        """Say what has become of a directory whose lock is not the one that is held, or nothing."""
        try:
            is_ours = os.path.samestat(os.fstat(descriptor), os.stat(self._lock))
        except FileNotFoundError:
            return "removed"
        except OSError as error:
            return f"out of sight: {error.strerror}"
        return "" if is_ours else "replaced"

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
                f" — {error.filename or self.checkpoints.path}; make it writable"
            ) from None

    def _remove_revoked(self) -> None:
        last = self.last_unrevoked()
        if last is not None:
            self._remove_after(last)

    def _remove_after(self, last: int) -> None:
        self.checkpoints.remove_after(last)
        self._mark.unlink(missing_ok=True)
        sync_directory(self.path)


def _number_in(path: Path, expected: str, remedy: str) -> int | None:
    """Read a number that a person may have written; None if there is no file."""
    try:
        text = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunDirectoryError(f"expected {expected}, got {error.strerror} — {path}") from None
    if not re.fullmatch(rb"\d{1,18}", text):
        came = text[:20].decode(errors="replace")
        raise RunDirectoryError(f"expected {expected}, got {came!r} — {path}; {remedy}")
    return int(text)
