"""The calls of a process to the system: listed, made to fail, made the last.

Source: strace(1), "Tampering".
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILES = "%file,%desc"  # every call that names a file or has one open
KILLED, REFUSED = "signal=KILL", "error=EIO"  # what can happen to a call
END_S = 30.0

_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(.*)")
_NO_CALL = re.compile(r"(?:\d+ +)?(?:---|\+\+\+) ")  # a signal, or the end
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        occurrence: how many of that name there were up to this one.
        arguments: as strace shows them; strings and names of files in hexadecimal.
        result: None where it did not return.
        outcome: the rest of the line: errors, and whether they were injected.
    """

    name: str
    occurrence: int
    arguments: tuple[str, ...]
    result: int | None
    outcome: str

    def descriptor(self) -> int:
        """Give the one that it is about."""
        return int(self.arguments[0].partition("<")[0])

    def paths(self) -> list[str]:
        """Give the names of files that it was given, but not those of descriptors."""
        return [_text(argument) for argument in self.arguments if argument.startswith('"')]

    def data(self, index: int) -> bytes:
        return _bytes(self.arguments[index])

    def concerns(self, path: Path) -> bool:
        return any(str(path) in _text(argument) for argument in self.arguments)

    def place(self) -> str:
        """Give the name of the file that it is about."""
        first = self.arguments[0]
        return _text(first) if first[0].isdigit() else self.paths()[0]

    def __str__(self) -> str:
        return f"{self.name} {self.occurrence} of {self.place()}"


def _bytes(argument: str) -> bytes:
    """Give what is hexadecimal in an argument."""
    return b"".join(bytes.fromhex(run.replace("\\x", "")) for run in _HEX.findall(argument))


def _text(argument: str) -> str:
    return _bytes(argument).decode(errors="replace")


@contextmanager
def attached(pid: int, out: Path, *options: str) -> Iterator[None]:
    """Have strace watch a process that will end."""
    command = ["strace", "-f", "-y", "-xx", "-o", str(out), "-p", str(pid), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        if "attached" not in (line := strace.stderr.readline()):
            strace.wait(END_S)
            os.kill(pid, signal.SIGKILL)
            pytest.skip(f"strace may not look into other processes here: {line.strip()}")
        try:
            yield
            strace.communicate(timeout=END_S)
        finally:
            strace.kill()


def calls(out: Path) -> list[Call]:
    """Read what strace has written."""
    found = []
    counts: dict[str, int] = {}
    for line in out.read_text().splitlines():
        match = _CALL.fullmatch(line)
        if match is None:
            assert _NO_CALL.match(line), f"strace has said something else: {line}"
            continue
        name, arguments, result, outcome = match.groups()
        counts[name] = counts.get(name, 0) + 1
        value = None if result == "?" else int(result, 0)
        split = tuple(arguments.split(", "))
        found.append(Call(name, counts[name], split, value, outcome))
    return found
