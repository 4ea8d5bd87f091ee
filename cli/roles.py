"""The processes that `train` starts on this machine: one coordinator, workers, a sampler.

Each is a direct child whose command line names its role, and leaves by itself when this process
dies. One that dies is replaced, within reason: the coordinator by `Supervisor`, all others here.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cli import errors
from cli.errors import RoleFailed

# Workers are the parallelism: one thread each for BLAS and for numba.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# What talks on loopback alone is plain, and one file cannot tell of several roles.
NOT_FOR_ROLES = ("GRADFLOCK_KEYS", "GRADFLOCK_KEY", "GRADFLOCK_HEALTH_FILE")
STARTS_MAX = 5  # of a role that fails by itself, the first included
STEADY_S = 30.0  # a role that has lived so long is forgiven what was before
INFANT_S = 2.0  # one that is killed younger than this may have been killed by what it is
POLL_S = 0.02  # how often a role that should end is looked at
LEAVE_S = 15.0  # after SIGTERM, before SIGKILL; a coordinator waits 8 s of them for its disk
KILL_S = 2.0  # after SIGKILL; whom a disk holds that hangs, that does not end either


class Role:
    """One child process.

    Attributes:
        name: `coordinator`, `worker 1`, `sampler`, ...: for people.
        had_to_be_killed: it was asked to end, and did not.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path | None) -> None:
        """Start it.

        Args:
            arguments: of the `gradflock` command, the role's first.
            log: where its standard error goes; None gives a pipe, `stderr`.
        """
        self.name = name
        self.had_to_be_killed = False
        self._log = log
        self._began_s = time.monotonic()
        environment = {k: v for k, v in os.environ.items() if k not in NOT_FOR_ROLES}
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment.update(dict.fromkeys(THREADS, "1"))
        command = [sys.executable, "-P", "-m", "cli", *arguments, f"--parent={os.getpid()}"]
        if log is None:
            self._process = self._start(command, environment, subprocess.PIPE)
        else:
            with log.open("ab") as file:
                self._process = self._start(command, environment, file.fileno())

    @staticmethod
    def _start(
        command: list[str], environment: dict[str, str], stderr: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            process_group=0,  # a terminal's Ctrl-C reaches `train` alone, which tells the others
        )

    @property
    def stderr_fd(self) -> int:
        assert self._process.stderr is not None
        return self._process.stderr.fileno()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal killed it."""
        return self._process.poll()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._began_s

    def ending(self) -> str:
        """Say how it ended."""
        code = self.exit_code
        assert code is not None
        if code < 0:
            return f"{self.name} was killed by {_signal_name(-code)}"
        said = self._last_line()
        return f"{self.name} ended with exit code {code}" + (f": {said}" if said else "")

    def terminate(self) -> None:
        if self.exit_code is None:
            self._process.terminate()

    def wait_or_kill(self, deadline_s: float, is_urgent: Callable[[], bool]) -> None:
        """Wait for it to end until a moment of the monotonic clock, or a hurry; then kill it."""
        while self.exit_code is None:
            if is_urgent() or time.monotonic() > deadline_s:
                self._process.kill()
                self.had_to_be_killed = True
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(KILL_S)
                return
            time.sleep(POLL_S)

    def _last_line(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"  # most real-time signals have no name


class Patience:
    """With one role that ends again and again."""

    def __init__(self) -> None:
        self._failures = 0

    def ends_with(self, *, has_failed: bool, is_forgiven: bool) -> bool:
        """Count one more end of the role; say whether it was one too many.

        Args:
            is_forgiven: the role has done so well meanwhile that earlier failures are forgotten.
        """
        self._failures = (0 if is_forgiven else self._failures) + has_failed
        return self._failures >= STARTS_MAX


class Flock:
    """The workers and the sampler of one run; the dead are replaced."""

    def __init__(self, start: Callable[[str], Role], workers: Sequence[str], sampler: str) -> None:
        """Start all of them.

        Args:
            start: starts the role of a name.
            workers: names of roles without which there is no training.
            sampler: name of the one that training can do without.
        """
        self._start = start
        self._sampler = sampler
        self._roles = {name: start(name) for name in (*workers, sampler)}
        self._patience = {name: Patience() for name in self._roles}

    def replace_dead(self, say: Callable[[str], None]) -> None:
        """Start those again that have ended, whatever ended them.

        Raises:
            RoleFailed: every worker was refused for good, or one has failed too often.
        """
        for name, role in list(self._roles.items()):
            code = role.exit_code
            if code is None:
                continue
            is_over = self._patience[name].ends_with(
                has_failed=code > 0 or role.age_s < INFANT_S, is_forgiven=role.age_s >= STEADY_S
            )
            if code == errors.REFUSED or is_over:
                others = [other for other in self._roles if other not in (name, self._sampler)]
                if name != self._sampler and (code != errors.REFUSED or not others):
                    raise RoleFailed(role.ending())
                say(f"{role.ending()}; going on without it")
                del self._roles[name]
                continue
            say(f"{role.ending()}; starting it again")
            self._roles[name] = self._start(name)

    def stop(self, is_urgent: Callable[[], bool]) -> None:
        """Ask all of them to leave, and see to it that they have."""
        for role in self._roles.values():
            role.terminate()
        deadline_s = time.monotonic() + LEAVE_S
        for role in self._roles.values():
            role.wait_or_kill(deadline_s, is_urgent)
