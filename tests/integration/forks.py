"""Warm starts: a process that has imported all of gradflock, and forks a command when asked.

Python's start, the imports and the kernels take most of a second of a core; a trial that loses two
hundred workers would wait for nothing else. What is forked is an ordinary process with its own
sockets, and everything after the imports is what `gradflock` does. This file is both ends: the
parent, when run as a module, and `Forks`, which talks to it.

Prior art: multiprocessing's forkserver, which neither gives a child files and arguments of its own
nor leaves alone the module that pytest was started with.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import cli.coordinator
import cli.worker
from cli.kernels import kept_library
from cli.main import main
from cli.roles import THREADS
from engine.config import ModelConfig

ANSWER_S = 60.0  # for the imports, once; a fork takes milliseconds
REAP_S = 0.01  # how often the parent looks for children that have ended

WARM = (cli.coordinator, cli.worker)  # imported by the parent for its children


class Forked:
    """A forked child, as `subprocess.Popen` would show it."""

    def __init__(self, forks: "Forks", pid: int) -> None:
        self._forks = forks
        self.pid = pid

    def poll(self) -> int | None:
        return self._forks.exit_code(self.pid)

    def wait(self, timeout: float) -> int:
        deadline_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(REAP_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # a process id is nobody else's until its parent has told
            os.kill(self.pid, number)


class Forks:
    """The parent, seen from the tests."""

    def __init__(self, environment: dict[str, str], root: Path) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.integration.forks"],
            env={**environment, **dict.fromkeys(THREADS, "1")},
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._unread = b""
        self._pids: list[int] = []
        self._exit_codes: dict[int, int] = {}

    @property
    def pid(self) -> int:
        return self._parent.pid

    def start(
        self, arguments: list[str], environment: dict[str, str], out: Path, err: Path
    ) -> Forked:
        """Fork one command, its output to two files and its directory theirs."""
        for path in (out, err):
            path.write_bytes(b"")
        asked = {
            "arguments": arguments,
            "environment": environment,
            "out": str(out),
            "err": str(err),
        }
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(asked).encode() + b"\n")
        self._parent.stdin.flush()
        deadline_s = time.monotonic() + ANSWER_S
        while not self._pids:
            assert time.monotonic() < deadline_s, "the parent of the forks does not answer"
            self._read(0.1)
        return Forked(self, self._pids.pop())

    def exit_code(self, pid: int) -> int | None:
        self._read(0.0)
        return self._exit_codes.get(pid)

    def close(self) -> None:
        """End the parent; its children must have ended."""
        for pipe in (self._parent.stdin, self._parent.stdout):
            assert pipe is not None
            pipe.close()
        self._parent.kill()
        self._parent.wait()

    def _read(self, timeout_s: float) -> None:
        assert self._parent.stdout is not None
        file = self._parent.stdout.fileno()
        while select.select([file], [], [], timeout_s)[0]:
            data = os.read(file, 65536)
            assert data, "the parent of the forks has ended"
            *lines, self._unread = (self._unread + data).split(b"\n")
            for values in map(json.loads, lines):
                if "code" in values:
                    self._exit_codes[values["pid"]] = values["code"]
                else:
                    self._pids.append(values["pid"])
            timeout_s = 0.0


# ---- the parent ----------------------------------------------------------------------------------


def serve() -> None:
    """Fork for every line of standard input, until it ends; tell who was born and who died."""
    kept_library(ModelConfig(vocab_size=27), _say)
    unread = b""
    while True:
        if select.select([0], [], [], REAP_S)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(line))
                _tell(pid=pid)
        _reap()


def _become(asked: dict[str, Any]) -> None:
    """Be the command, to its end."""
    code = 1
    try:
        os.setsid()
        os.environ.update(asked["environment"])
        os.chdir(Path(asked["out"]).parent)
        for name, flags, target in (
            (os.devnull, os.O_RDONLY, 0),
            (asked["out"], os.O_WRONLY, 1),
            (asked["err"], os.O_WRONLY, 2),
        ):
            file = os.open(name, flags)
            os.dup2(file, target)
            os.close(file)
        main(asked["arguments"])
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(pid=pid, code=os.waitstatus_to_exitcode(status))


def _tell(**values: int) -> None:
    os.write(1, json.dumps(values).encode() + b"\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve()
