"""What shows a run to people beside its coordinator: a live page, and a file of its timeline."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.errors import UsageError
from cli.roles import Role
from cli.security import check_http
from cli.trace_file import TraceFile
from coordinator.timeline import StepTrace
from wire.errors import AddressInUse
from wire.tcp import check_free

DASHBOARD_FILE = "dashboard.address"  # in a run's directory, while it has a page
LOG = "dashboard.log"
FREE_S = 3.0  # how long the page of a killed coordinator may take to leave
FREE_LOOK_S = 0.05
LEAVE_S = 3.0  # how long a page may take to leave at the end of a run


class Watching:
    """The page's process and the timeline's file, from a run's first step to its last.

    The page asks as `gradflock status` does, and costs no step anything; a disk that has no room
    ends the file with one line.
    """

    def __init__(self, run_dir: Path, said: dict[str, Any], insecure: bool) -> None:
        """Make sure that what is asked for can be.

        Args:
            said: the flags `dashboard` and `timeline_filename`.
            insecure: the page may have an address that others can reach.

        Raises:
            UsageError: it cannot.
        """
        self._run_dir = run_dir
        self._address: str | None = said["dashboard"]
        self._path: Path | None = said["timeline_filename"]
        self._insecure = insecure
        self._page: Role | None = None
        self._file: TraceFile | None = None
        address = self._address
        if address is not None and check_http(address, insecure, _ignore, "--dashboard") is None:
            raise UsageError(
                f"expected host:port, got {address!r} — --dashboard; leave the flag out for no page"
            )

    def begin(self, say: Callable[[str], None], goes_on: bool) -> Self:
        """Begin; the run directory is ours.

        Args:
            goes_on: the run was started before: it will not end for want of a page.

        Raises:
            UsageError: the timeline cannot be written.
            AddressInUse: another process is where the page is to be.
        """
        self._say = say
        if self._path is not None:
            try:
                self._file = TraceFile(self._path, goes_on)
            except OSError as error:
                raise UsageError(
                    f"expected a file that can be written, got {error.strerror} — {self._path};"
                    " give --timeline-filename another place"
                ) from None
        if self._address is not None and self._has_room(goes_on):
            logs = self._run_dir / "logs"
            logs.mkdir(exist_ok=True)
            arguments = ["dashboard", f"--run-dir={self._run_dir}", f"--http={self._address}"]
            arguments += [f"--address-file={self._run_dir / DASHBOARD_FILE}"]
            arguments += ["--insecure"] if self._insecure else []
            self._page = Role("dashboard", arguments, logs / LOG)
            is_known = not self._address.endswith(":0")
            where = f"http://{self._address}" if is_known else f"the address in {DASHBOARD_FILE}"
            say(f"dashboard at {where}")
        return self

    def _has_room(self, goes_on: bool) -> bool:
        """Say whether the page's address is free; one that was killed leaves it within a moment."""
        try:
            _wait_until_free(f"tcp://{self._address}")
        except AddressInUse as error:
            if not goes_on:
                raise
            self._say(f"no dashboard: {error}")
            return False
        return True

    @property
    def trace(self) -> Callable[[StepTrace], None] | None:
        """What takes the times of each step; None if nobody wants them."""
        return None if self._file is None else self._add

    def _add(self, step: StepTrace) -> None:
        if self._file is None:
            return
        try:
            self._file.add(step)
        except OSError as error:
            self._end_file(f"at step {step.step}: {error.strerror}")

    def _end_file(self, why: str = "") -> None:
        """Close the timeline; if that fails, or something has failed before, say so."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            why = why or f"early: {error.strerror}"
        if why:
            self._say(f"the timeline ends {why} — {self._path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_file()
        if self._page is not None:
            self._page.terminate()
            self._page.wait_or_kill(time.monotonic() + LEAVE_S, lambda: False)
            (self._run_dir / DASHBOARD_FILE).unlink(missing_ok=True)


def _wait_until_free(address: str) -> None:
    """Let the page of a coordinator that was killed leave; it notices, but not at once.

    Raises:
        AddressInUse: another process has the address, and keeps it.
    """
    deadline_s = time.monotonic() + FREE_S
    while True:
        try:
            check_free(address)
        except AddressInUse:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(FREE_LOOK_S)
        else:
            return


def _ignore(_text: str) -> None:
    pass
