"""The roles of one run on this machine, from the first to the last."""

import os
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import errors
from cli.errors import RoleFailed
from cli.roles import LEAVE_S, Flock, Role
from cli.stopping import StopFlag
from cli.view import View, read_fact
from coordinator.checkpoint import RunDirectory
from coordinator.facts import StepCommitted

POLL_S = 0.05  # how often the children are looked at
START_S = 60.0  # how long the coordinator may take until it is bound
READ_BYTES = 65_536
SAMPLER = "sampler"


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What `train` needs to know to start the roles of one run on this machine."""

    directory: RunDirectory
    workers: int
    flags: Mapping[str, Any]  # of the coordinator, by name; None where nothing was said
    sampler_bind: str
    sampler_flags: list[str]

    def log(self, name: str) -> Path:
        return self.directory.path / "logs" / f"{name.replace(' ', '-')}.log"

    @property
    def address_file(self) -> Path:
        return self.directory.path / "coordinator.address"

    def coordinator_arguments(self) -> list[str]:
        said = {name: value for name, value in self.flags.items() if value is not None}
        return [
            "coordinator",
            "--bind=tcp://127.0.0.1:0",
            f"--run-dir={self.directory.path}",
            f"--address-file={self.address_file}",
            "--log-format=json",
            *(f"--{name.replace('_', '-')}={value}" for name, value in said.items()),
        ]


class Supervisor:
    """Starts the roles, shows what the coordinator tells, and leaves nobody behind."""

    def __init__(self, local: LocalRun, view: View, stop: StopFlag) -> None:
        self._local = local
        self._view = view
        self._stop = stop
        self._flock: Flock | None = None
        self._unread = b""
        self._errors: list[str] = []

    def run(self) -> None:
        """Return when the coordinator has finished, or has saved because it was asked to.

        Raises:
            RoleFailed: a role failed for good.
        """
        local = self._local
        local.address_file.unlink(missing_ok=True)
        coordinator = Role("coordinator", local.coordinator_arguments(), None)
        os.set_blocking(coordinator.stderr_fd, False)
        try:
            self._follow(coordinator)
        finally:
            coordinator.terminate()
            deadline_s = time.monotonic() + LEAVE_S
            while coordinator.exit_code is None and time.monotonic() < deadline_s:
                self._show(coordinator)
                if self._stop.is_urgent:
                    deadline_s = 0.0
            coordinator.wait_or_kill(deadline_s)
            while self._show(coordinator):
                pass
            if self._flock is not None:
                self._flock.stop()
        if self._stop() and coordinator.exit_code == -signal.SIGTERM:
            return  # it had not come to the point where it listens to us; nothing was begun
        if coordinator.exit_code not in (errors.DONE, errors.INTERRUPTED):
            raise RoleFailed(self._errors[-1] if self._errors else coordinator.ending())

    def _follow(self, coordinator: Role) -> None:
        start_by_s = time.monotonic() + START_S
        while coordinator.exit_code is None and not self._stop():
            self._show(coordinator)
            if self._flock is not None:
                self._flock.replace_dead(self._view.say)
            elif self._local.address_file.exists():
                workers = [f"worker {i}" for i in range(1, self._local.workers + 1)]
                self._flock = Flock(self._start, workers, SAMPLER)
            elif time.monotonic() > start_by_s:
                raise RoleFailed(f"expected the coordinator to start within {START_S:g} s")

    def _start(self, name: str) -> Role:
        local = self._local
        if name == SAMPLER:
            arguments = ["serve", f"--run-dir={local.directory.path}"]
            arguments += [f"--bind={local.sampler_bind}", *local.sampler_flags]
        else:
            address = local.address_file.read_text().strip()
            arguments = ["worker", f"--connect={address}", f"--name={name.replace(' ', '-')}"]
        return Role(name, arguments, local.log(name))

    def _show(self, coordinator: Role) -> bool:
        """Show what the coordinator has told since the last time; wait a moment for it.

        Returns:
            Whether there was anything.
        """
        select.select([coordinator.stderr_fd], [], [], POLL_S)
        try:
            data = os.read(coordinator.stderr_fd, READ_BYTES)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            fact = read_fact(line.decode(errors="replace"))
            if isinstance(fact, str):
                self._errors.append(fact.removeprefix("gradflock: "))
                continue
            if isinstance(fact, StepCommitted) and self._flock is not None:
                self._flock.note_progress()
            self._view.observe(fact)
        return bool(data)
