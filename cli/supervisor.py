"""The roles of one run on this machine, from the first to the last."""

import os
import select
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import errors
from cli.checkpoint_facts import pick
from cli.cores import Seats
from cli.errors import RoleFailed
from cli.plan import RESUME_ALWAYS
from cli.roles import LEAVE_S, Flock, Patience, Role
from cli.stopping import StopFlag
from cli.summary import resume_command
from cli.view import Said, View, read_fact
from coordinator.errors import RunDirectoryError
from coordinator.facts import CheckpointDurable, RunWentBack, StepCommitted
from coordinator.run_directory import RunDirectory
from coordinator.status_door import ANY_PORT
from wire.errors import AddressInUse
from wire.tcp import check_free

POLL_S = 0.05  # how often the children are looked at
START_S = 60.0  # how long the coordinator may take until it is bound
READ_BYTES = 65_536
SAMPLER = "sampler"


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What `train` needs to know to start the roles of one run on this machine."""

    directory: RunDirectory
    workers: int
    seats: Seats
    steps: int
    flags: Mapping[str, Any]  # of the coordinator, by name; None or False: nothing was said
    sampler_bind: str
    sampler_flags: list[str]

    def log(self, name: str) -> Path:
        return self.directory.path / "logs" / f"{name.replace(' ', '-')}.log"

    @property
    def address_file(self) -> Path:
        return self.directory.path / "coordinator.address"

    def coordinator_arguments(self, address: str = ANY_PORT, **others: Any) -> list[str]:
        """Give a coordinator's command line.

        Args:
            others: flags in place of those that were said at first.
        """
        flags = {**self.flags, **others}.items()
        said = {name: value for name, value in flags if value is not None and value is not False}
        core = self.seats.coordinator
        return [
            "coordinator",
            f"--bind={address}",
            f"--run-dir={self.directory.path}",
            f"--address-file={self.address_file}",
            "--log-format=json",
            *([] if core is None else [f"--core={core}"]),
            *(_flag(name, value) for name, value in said.items()),
        ]


@dataclass(slots=True)
class Told:
    """What one coordinator process has told so far.

    Attributes:
        unread: the beginning of a line.
        last_words: the newest line that was no fact.
        has_saved: a step became durable.
    """

    unread: bytes = b""
    last_words: str = ""
    is_last_step_seen: bool = False
    has_saved: bool = False


class Supervisor:
    """Starts the roles, shows what the coordinator tells, and leaves nobody behind.

    A coordinator that a signal has killed is started again on the same address: its workers wait
    there for the next. One that exits by itself has had a reason, and is not.
    """

    def __init__(self, local: LocalRun, view: View, stop: StopFlag) -> None:
        self._local = local
        self._view = view
        self._stop = stop
        self._flock: Flock | None = None
        self._address = ANY_PORT  # of the coordinator; the first start finds a port, and it stays
        self._patience = Patience()
        self._told = Told()

    def run(self) -> None:
        """Return when the coordinator has finished, or has saved because it was asked to.

        Who asks twice, or before there is anything to save, gets no save.

        Raises:
            RoleFailed: a role failed for good.
            RunDirectoryHeld: the coordinator was killed, and another one has taken its place.
        """
        coordinator = self._start_coordinator()
        try:
            while not self._follow(coordinator):
                coordinator = self._start_coordinator_again(coordinator)
        finally:
            self._end(coordinator)
        if failure := self._failure(coordinator):
            raise RoleFailed(failure)

    def _failure(self, coordinator: Role) -> str:
        """Say why a coordinator that has ended did not do what it should; empty if it did."""
        code = coordinator.exit_code
        if code in (errors.DONE, errors.INTERRUPTED):
            return ""
        has_exited = code is not None and code > 0
        if has_exited and self._told.last_words:
            return self._told.last_words
        has_been_bound = self._local.address_file.exists()
        if self._stop() and not has_exited and (self._stop.is_urgent or not has_been_bound):
            return ""
        if coordinator.had_to_be_killed:
            missed = f"save within {LEAVE_S:g} s, got no answer"
        else:
            missed = f"{'save' if self._stop() else 'finish'}, got: {coordinator.ending()}"
        run_dir = self._local.directory.path
        return f"expected the coordinator to {missed} — {run_dir}; {self._way_on()}"

    def _way_on(self) -> str:
        """Say what is durable while no coordinator runs, and how to go on from it."""
        directory = self._local.directory
        try:
            checkpoint = pick(directory, None, self._view.say)
        except RunDirectoryError:
            return "no step is durable: begin it anew"
        command = resume_command(directory, checkpoint, self._local.steps)
        return f"step {checkpoint.step} is durable: go on with {command}"

    def _start_coordinator(self, **others: Any) -> Role:
        self._local.address_file.unlink(missing_ok=True)
        self._told = Told()
        arguments = self._local.coordinator_arguments(self._address, **others)
        coordinator = Role("coordinator", arguments, None)
        os.set_blocking(coordinator.stderr_fd, False)
        return coordinator

    def _start_coordinator_again(self, killed: Role) -> Role:
        directory = self._local.directory
        self._check_address(killed)
        with directory.lock():  # so that what a save or a revocation has left is gone
            checkpoint, complaints = directory.checkpoints.newest()
        for complaint in complaints:
            self._view.say(f"passed over a checkpoint: {complaint}")
        step = 0 if checkpoint is None else checkpoint.step
        self._view.say(f"{killed.ending()}; starting it again, from step {step}")
        self._view.go_back(step)
        if checkpoint is None:
            return self._start_coordinator()
        return self._start_coordinator(resume=RESUME_ALWAYS)

    def _check_address(self, killed: Role) -> None:
        """Make sure that the next coordinator can be where the workers look for it.

        Raises:
            RoleFailed: another process has taken the address.
        """
        try:
            check_free(self._address)
        except AddressInUse:
            raise RoleFailed(
                f"expected {self._address} to be free for the next coordinator, got another"
                f" process on it, after {killed.ending()} — {self._local.directory.path};"
                f" {self._way_on()}"
            ) from None

    def _follow(self, coordinator: Role) -> bool:
        """Show what a coordinator tells, until it ends or somebody wants to stop.

        Returns:
            Whether that was the end; if not, it was killed and may be started again.
        """
        start_by_s = time.monotonic() + START_S
        is_bound = False
        while coordinator.exit_code is None and not self._stop():
            self._show(coordinator)
            if self._flock is not None and not self._told.is_last_step_seen:
                self._flock.replace_dead(self._view.say)
            if is_bound:
                continue
            is_bound = self._local.address_file.exists()
            if is_bound and self._flock is None:
                self._address = self._local.address_file.read_text().strip()
                workers = [f"worker {i}" for i in range(1, self._local.workers + 1)]
                self._flock = Flock(self._start, workers, SAMPLER)
            elif not is_bound and time.monotonic() > start_by_s:
                raise RoleFailed(
                    f"expected the coordinator to start within {START_S:g} s, got nothing"
                    f" — {self._local.directory.path}; see logs/coordinator.log there"
                )
        if self._stop() or (coordinator.exit_code or 0) >= 0:
            return True
        while self._show(coordinator):  # its last words say how far it was
            pass
        has_saved = self._told.has_saved
        return self._patience.ends_with(has_failed=not has_saved, is_forgiven=has_saved)

    def _end(self, coordinator: Role) -> None:
        coordinator.terminate()
        deadline_s = time.monotonic() + LEAVE_S
        while coordinator.exit_code is None and time.monotonic() < deadline_s:
            self._show(coordinator)
            if self._stop.is_urgent:
                break
        coordinator.wait_or_kill(deadline_s, lambda: self._stop.is_urgent)
        while self._show(coordinator):
            pass
        if self._flock is not None:
            self._flock.stop(lambda: self._stop.is_urgent)

    def _start(self, name: str) -> Role:
        local = self._local
        if name == SAMPLER:
            arguments = ["serve", f"--run-dir={local.directory.path}"]
            arguments += [f"--bind={local.sampler_bind}", *local.sampler_flags]
            arguments += [f"--address-file={local.directory.path / 'sampler.address'}"]
        else:
            arguments = ["worker", f"--connect={self._address}", f"--name={name.replace(' ', '-')}"]
            core = local.seats.workers[int(name.split()[1]) - 1]
            arguments += [] if core is None else [f"--core={core}"]
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
        *lines, self._told.unread = (self._told.unread + data).split(b"\n")
        for line in lines:
            self._tell(line.decode(errors="replace"))
        return bool(data)

    def _tell(self, line: str) -> None:
        fact = read_fact(line)
        if isinstance(fact, Said):
            self._view.say(fact.text)
            return
        if isinstance(fact, str):
            self._told.last_words = fact.removeprefix("gradflock: ")
            with suppress(OSError), self._local.log("coordinator").open("a") as log:
                log.write(fact + "\n")
            return
        if isinstance(fact, RunWentBack):
            self._told.is_last_step_seen = False
        if isinstance(fact, CheckpointDurable):
            self._told.has_saved = True
        if isinstance(fact, StepCommitted):
            self._told.is_last_step_seen = fact.step >= self._local.steps
        self._view.observe(fact)


def _flag(name: str, value: Any) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag}={value}"
