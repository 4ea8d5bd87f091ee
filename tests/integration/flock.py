"""Real processes for tests: started on the working tree, watched, and never left behind.

A Lab gives everything it starts one variable in its environment, which children inherit whatever
else they do; so who belongs to the test is read from /proc, and can be killed.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.integration.forks import Forked, Forks
from tests.integration.oracle import DOCUMENTS, Job

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
MARK = "GRADFLOCK_TEST_LAB"
PATIENCE_S = 60.0  # for what takes a second or two on an idle machine

T = TypeVar("T")


def wait_until(
    what: str,
    condition: Callable[[], T],
    within_s: float = PATIENCE_S,
    look_s: float = 0.02,
) -> T:
    """Give the condition's value once it is true; fail if that takes too long."""
    deadline_s = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited {within_s:g} s for {what}")
        time.sleep(look_s)
    return value


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Process:
    """One `gradflock` command, leader of its own process group as if typed at a terminal."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        stem: Path,
        *,
        forks: Forks | None = None,
        module: str = "cli",
        on: Sequence[str] = (),
    ) -> None:
        """Start it.

        Args:
            on: what begins the command line, to have it run elsewhere.
            forks: start it warm; None starts Python anew.
            module: what Python runs: `cli`, or a script of the tests'.
        """
        self._out, self._err = stem.with_suffix(".out"), stem.with_suffix(".err")
        self._process: subprocess.Popen[bytes] | Forked
        if forks is not None:
            self._process = forks.start(arguments, environment, self._out, self._err)
        else:
            command = [*on, sys.executable, "-P", "-m", module, *arguments]
            self._process = self._start(command, environment)
        self.pid = self._process.pid

    def _start(self, command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        with self._out.open("wb") as out, self._err.open("wb") as err:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=self._out.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    @property
    def errors(self) -> list[str]:
        """The lines in which the command says that it has failed."""
        return [line for line in self.stderr.splitlines() if line.startswith("gradflock:")]

    def exit_code(self, within_s: float = PATIENCE_S) -> int:
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {within_s:g} s; it has said:\n{self.stderr}")

    def wait_until_it_says(self, words: str) -> str:
        """Give the first line of its standard error that has these words."""

        def line() -> str:
            assert words in self.stderr or self.is_running, f"ended; it has said:\n{self.stderr}"
            return next((line for line in self.stderr.splitlines() if words in line), "")

        return wait_until(f"{words!r} in standard error", line)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Signal it and its children, as a terminal's Ctrl-C does."""
        os.killpg(self.pid, number)


class Train(Process):
    """`gradflock train --json` and what can be seen of it from outside."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], stem: Path, run_dir: Path
    ) -> None:
        super().__init__(["train", f"--run-dir={run_dir}", "--json", *arguments], environment, stem)
        self.run_dir = run_dir

    def metrics(self) -> list[dict[str, Any]]:
        return metrics(self.run_dir)

    def losses(self) -> list[float]:
        return [line["loss"] for line in self.metrics()]

    def wait_for_step(self, step: int) -> None:
        def has_step() -> bool:
            count = len(self.metrics())
            assert count >= step or self.is_running, f"ended; it has said:\n{self.stderr}"
            return count >= step

        wait_until(f"step {step}", has_step)

    def children(self, role: str) -> list[int]:
        """Process ids of its direct children whose command line names the role."""
        return [
            pid
            for pid in _pids()
            if _parent(pid) == self.pid and f"\0{role}\0" in _read(pid, "cmdline")
        ]

    def child(self, role: str) -> int:
        def found() -> list[int]:
            assert self.is_running, f"ended; it has said:\n{self.stderr}"
            return self.children(role)

        return wait_until(f"a {role} process", found)[0]

    def summary(self, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """What it printed at the end of a run that went well."""
        assert self.exit_code(within_s) == 0, self.stderr
        values: dict[str, Any] = json.loads(self.stdout)
        return values


class Lab:
    """Starts processes for one test, or for one module of tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "documents.txt"
        self.data.write_text("\n".join(DOCUMENTS) + "\n")
        self._mark = secrets.token_hex(8)
        self._started: list[Process] = []
        self._forks: Forks | None = None
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADFLOCK_")}
        self.environment = {
            **inherited,
            MARK: self._mark,
            "PYTHONPATH": str(ROOT),
            "GRADFLOCK_HTTP": "127.0.0.1:0",  # tests run beside each other
            "GRADFLOCK_CACHE_DIR": str(directory / "cache"),
            "GRADFLOCK_KERNELS": os.environ["GRADFLOCK_KERNELS"],  # see the fixture `kernels`
        }

    def start(self, *arguments: str, on: Sequence[str] = (), **environment: str) -> Process:
        """Start any command; `on` begins its command line, to have it run elsewhere."""
        stem = self._stem()
        return self._keep(Process([*arguments], {**self.environment, **environment}, stem, on=on))

    def fork(self, *arguments: str) -> Process:
        """Start any command warm: what a process costs before it does something, it costs once."""
        if self._forks is None:
            self._forks = Forks(self.environment, ROOT)
        stem = self._stem()
        return self._keep(Process([*arguments], self.environment, stem, forks=self._forks))

    def start_script(self, module: str, *arguments: str) -> Process:
        """Start a module of the tests."""
        stem = self._stem()
        return self._keep(Process([*arguments], self.environment, stem, module=module))

    def run(self, *arguments: str, on: Sequence[str] = (), **environment: str) -> Process:
        """Start any command and wait for its end."""
        process = self.start(*arguments, on=on, **environment)
        process.exit_code()
        return process

    def train(self, job: Job, *arguments: str, run_dir: Path | None = None) -> Train:
        """Start `train` on the lab's documents."""
        said = [*job.flags(), f"--data={self.data}", *arguments]
        return self.train_with(*said, run_dir=run_dir)

    def train_with(self, *arguments: str, run_dir: Path | None = None) -> Train:
        """Start `train`, its sampler on a free port unless the arguments say where."""
        stem = self._stem()
        said = ["--sampler-bind=tcp://127.0.0.1:0", *arguments]
        run_dir = run_dir or stem.with_suffix(".run")
        return self._keep(Train(said, self.environment, stem, run_dir))

    @property
    def started(self) -> list[Process]:
        return self._started

    def left(self) -> list[int]:
        """Process ids of everything that was started here, by anybody, and still lives; but not
        of the parent of the forks."""
        wanted = f"{MARK}={self._mark}"
        parent = None if self._forks is None else self._forks.pid
        return [
            pid
            for pid in _pids()
            if pid != parent
            and wanted in _read(pid, "environ").split("\0")
            and _state(pid) not in "ZX"
        ]

    def assert_nobody_is_left(self, within_s: float = 10.0) -> None:
        wait_until("every process to end", lambda: not self.left(), within_s)

    def kill_everybody(self) -> None:
        """Kill every process at once, as a power failure does."""
        while pids := self.left():
            for pid in pids:
                _kill(pid)

    def kill_all(self) -> None:
        """Leave nobody behind."""
        self.kill_everybody()
        for process in self._started:
            process.exit_code()
        if self._forks is not None:
            self._forks.close()

    def _stem(self) -> Path:
        return self.directory / f"process-{len(self._started) + 1}"

    def _keep(self, process: T) -> T:
        assert isinstance(process, Process)
        self._started.append(process)
        return process


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Give the whole lines of a run's metrics.jsonl."""
    try:
        *lines, _unfinished = (run_dir / "metrics.jsonl").read_text().split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def checkpointed_step(run_dir: Path) -> int:
    """Give the newest step that has a commit record; -1 if there is none."""
    records = (run_dir / "checkpoints").glob("step-*.json")
    return max((json.loads(record.read_text())["step"] for record in records), default=-1)


def _pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_bytes().decode(errors="replace")
    except OSError:  # it has ended meanwhile, or is not ours to look at
        return ""


def _state(pid: int) -> str:
    return _read(pid, "stat").rpartition(") ")[2][:1] or "X"


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(") ")[2].split()
    return int(fields[1]) if fields else -1


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
