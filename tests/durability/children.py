"""Lives in processes of their own, forked from one that has imported everything, and each waits
for a word before it begins, so that strace can be there from its first call.

This file is both ends: the parent, when run as a module, and `Children`, which talks to it.

Prior art: tests/integration/forks.py.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path

from coordinator.errors import CoordinatorError
from coordinator.run_directory import RunDirectory
from tests.durability.lives import LIVES
from tests.durability.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PTRACER, ANYBODY = 0x59616D61, -1  # prctl(2): where Yama guards, who may trace us

LIVED, REFUSED, FAILED = 0, 1, 2  # exit codes: to the end; the disk refused; a mistake of ours
BEGIN = signal.SIGUSR1
TELL = 1  # the descriptor on which a child tells


class Children:
    """The parent, seen from the tests. One child lives at a time."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.durability.children"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, life: str, path: Path, mutant: str = "") -> int:
        """Fork a child that waits; give its process id."""
        assert self._parent.stdin is not None
        asked = {"life": life, "path": str(path), "mutant": mutant}
        self._parent.stdin.write(json.dumps(asked).encode() + b"\n")
        self._parent.stdin.flush()
        word, pid = self._read()
        assert word == "born"
        return pid

    def live(self, pid: int) -> tuple[list[tuple[str, int]], int]:
        """Let the child live to its end; give what it has said, and its exit code."""
        os.kill(pid, BEGIN)
        said = []
        while (words := self._read())[0] != "died":
            said.append(words)
        return said, words[1]

    def close(self) -> None:
        for pipe in (self._parent.stdin, self._parent.stdout):
            assert pipe is not None
            pipe.close()
        self._parent.kill()
        self._parent.wait()

    def _read(self) -> tuple[str, int]:
        assert self._parent.stdout is not None
        word, number = self._parent.stdout.readline().decode().split()
        return word, int(number)


# ---- the parent ----------------------------------------------------------------------------------


def serve() -> None:
    """Fork for every line of standard input, until it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {BEGIN})
    while asked := os.read(0, 65536):  # a whole line: who writes waits for answers
        pid = os.fork()
        if pid == 0:
            _live(**json.loads(asked))
        _, status = os.waitpid(pid, 0)
        _tell("died", os.waitstatus_to_exitcode(status))


def _live(life: str, path: str, mutant: str) -> None:
    code = FAILED
    try:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
        planted = MUTANTS[mutant].planted() if mutant else nullcontext()
        directory = RunDirectory(Path(path))
        live = next(one.live for one in LIVES if one.name == life)
        with planted:
            _tell("born", os.getpid())
            signal.sigwait({BEGIN})  # no call to a file: those are counted from here
            with directory.lock():
                live(directory, _tell)
        code = LIVED
    except (CoordinatorError, OSError):  # the command line says so in one line
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _tell(word: str, number: int) -> None:
    os.write(TELL, f"{word} {number}\n".encode())


if __name__ == "__main__":
    serve()
