"""Every disk that a power failure may leave, enumerated from the calls that a process has made.

The model: of the changes of a directory that no fsync of it has followed, any are there and any are
not. Of the writes to a file that no fsync of it has followed, each is there, or half of it, or
none of it; and the file may have its new length already, with zeros where data is lacking. What an
fsync has returned for is there. What an fsync has failed for stays in doubt for ever: a later one
that succeeds says nothing about it.

Source: Pillai et al. 2014 (OSDI), "All file systems are not created equal", section 3; Rebello et
    al. 2020 (USENIX ATC), "Can applications recover from fsync failures?"
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path, PurePath
from typing import Generic, TypeVar

from tests.durability.strace import Call

PENDING_MAX = 3  # edits of a file whose every combination is tried; of more, those up to each one
SUBSETS_MAX = 2**12  # of changes of a directory; recipes without fsync have no end of them
IGNORED = {"LOCK"}  # tells people who holds a directory
HARMLESS = {
    *("newfstatat", "fstat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2"),
    *("getdents64", "pread64", "flock", "ioctl", "fcntl", "utimensat", "fchmod"),
}

SYNCS = {"fsync", "fdatasync"}

State = dict[str, bytes | None]  # path below the root -> contents; None is a directory
Names = dict[str, "File | Directory"]
T = TypeVar("T")


@dataclass(slots=True)
class Changes(Generic[T]):
    """What has happened to something since it was wholly on the disk, in order."""

    made: list[T] = field(default_factory=list)
    certain: list[bool] = field(default_factory=list)
    refused: int = 0  # so many at the beginning stay in doubt

    def add(self, change: T) -> None:
        self.made.append(change)
        self.certain.append(False)

    def refuse(self) -> None:
        self.refused = len(self.made)

    def sync(self) -> bool:
        """Make all certain that can be; say whether that is all."""
        later = len(self.made) - self.refused
        self.certain = self.certain[: self.refused] + [True] * later
        return not self.refused


@dataclass(slots=True)
class File:
    durable: bytes = b""
    changes: Changes[tuple[int, bytes | None]] = field(default_factory=Changes)  # None: a cut

    def contents(self) -> list[bytes]:
        """Give what may be in it, the least first."""
        length = len(self._now())
        found = []
        for parts in self._parts():
            content = self._edited(parts)
            found += [content, content.ljust(length, b"\0")]
        return list(dict.fromkeys(found))

    def sync(self) -> None:
        if self.changes.sync():
            self.durable = self._now()
            self.changes = Changes()

    def _now(self) -> bytes:
        return self._edited((2,) * len(self.changes.made))

    def _parts(self) -> Iterator[tuple[int, ...]]:
        """Of each change: 0 none of it, 1 half, 2 all."""
        certain = self.changes.certain
        if certain.count(False) <= PENDING_MAX:
            yield from product(*((2,) if is_certain else (0, 1, 2) for is_certain in certain))
            return
        for last in range(len(certain)):
            for part in (0, 1, 2):
                tried = (*(2,) * last, part, *(0,) * (len(certain) - last - 1))
                yield tuple(2 if sure else n for sure, n in zip(certain, tried, strict=True))

    def _edited(self, parts: tuple[int, ...]) -> bytes:
        content = self.durable
        for (start, data), part in zip(self.changes.made, parts, strict=True):
            if part and data is None:
                content = content[:start].ljust(start, b"\0")
            elif part and data is not None:
                data = data[: len(data) * part // 2]
                content = content.ljust(start, b"\0")
                content = content[:start] + data + content[start + len(data) :]
        return content


@dataclass(slots=True)
class Directory:
    durable: Names = field(default_factory=dict)
    now: Names = field(default_factory=dict)
    changes: Changes[Callable[[Names], object]] = field(default_factory=Changes)

    def change(self, change: Callable[[Names], object]) -> None:
        change(self.now)
        self.changes.add(change)

    def sync(self) -> None:
        if self.changes.sync():
            self.durable = dict(self.now)
            self.changes = Changes()

    def listings(self) -> Iterator[Names]:
        """Give what may be in it, the least first."""
        choices = [(True,) if is_certain else (False, True) for is_certain in self.changes.certain]
        for mask in islice(product(*choices), SUBSETS_MAX):
            names = dict(self.durable)
            for change, is_there in zip(self.changes.made, mask, strict=True):
                if is_there:
                    change(names)
            yield names


class Recorder:
    """The disk below a root while calls are made, and what is left of it if the power fails."""

    def __init__(self, root: Path) -> None:
        """Take what is below the root now as durable."""
        self._root = root
        self._top = taken(root)
        self._open: dict[int, File | Directory] = {}
        self._positions: dict[int, int] = {}

    def do(self, call: Call) -> bool:
        """Repeat a call; say whether it has changed what is there or what is durable."""
        if call.result is None or not call.concerns(self._root):
            return False
        if call.result < 0:
            if call.name in SYNCS:
                self._open[call.descriptor()].changes.refuse()
            return False
        match call.name:
            case "open" | "openat":
                return self._do_open(call)
            case "read" | "lseek" | "close" | "write" | "pwrite64" | "ftruncate":
                return self._do_file(call)
            case name if name in SYNCS:
                self._open[call.descriptor()].sync()
            case "rename" | "renameat" | "renameat2":
                self._do_rename(call)
            case "unlink" | "unlinkat" | "mkdir" | "mkdirat":
                self._do_name(call)
            case name:
                assert name in HARMLESS, f"the model does not know {call}"
                return False
        return True

    def states(self) -> Iterator[State]:
        """Give every disk that a power failure may leave now; some come twice."""
        return _states(self._top, PurePath())

    def _do_open(self, call: Call) -> bool:
        flags = call.arguments[1 + (call.name == "openat")].split("|")
        directory, name = self._place(call.paths()[-1])
        is_new = name not in directory.now
        if is_new and name:
            assert "O_CREAT" in flags
            directory.change(_put(name, File()))
        opened = directory.now[name] if name else directory
        assert call.result is not None
        self._open[call.result] = opened
        self._positions[call.result] = 0
        assert "O_APPEND" not in flags
        if is_cut := "O_TRUNC" in flags and not is_new:
            assert isinstance(opened, File)
            opened.changes.add((0, None))
        return is_new or is_cut

    def _do_file(self, call: Call) -> bool:
        number, file = call.descriptor(), self._open[call.descriptor()]
        assert call.result is not None
        if call.name == "close":
            del self._open[number]
        elif call.name == "lseek":
            self._positions[number] = call.result
        elif call.name == "read":
            self._positions[number] += call.result
        else:
            assert isinstance(file, File)
            if call.name == "ftruncate":
                file.changes.add((int(call.arguments[1]), None))
            elif call.name == "pwrite64":
                file.changes.add((int(call.arguments[3]), call.data(1)[: call.result]))
            else:
                file.changes.add((self._positions[number], call.data(1)[: call.result]))
                self._positions[number] += call.result
            return True
        return False

    def _do_rename(self, call: Call) -> None:
        (directory, old), (target, new) = map(self._place, call.paths())
        assert directory is target, "the model renames in one directory"
        file = directory.now[old]

        def rename(names: Names) -> None:
            names.pop(old, None)
            names[new] = file

        directory.change(rename)

    def _do_name(self, call: Call) -> None:
        directory, name = self._place(call.paths()[-1])
        if call.name.startswith("mkdir"):
            directory.change(_put(name, Directory()))
        else:
            directory.change(lambda names: names.pop(name, None))

    def _place(self, path: str) -> tuple[Directory, str]:
        """Find the directory that a file is in; its name is empty for the root."""
        *above, name = PurePath(path).relative_to(self._root).parts or ("",)
        directory = self._top
        for part in above:
            below = directory.now[part]
            assert isinstance(below, Directory)
            directory = below
        return directory, name


def lay_out(state: State, root: Path) -> None:
    """Make a disk real, below an empty directory."""
    for name, content in state.items():  # a directory comes before what is in it
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


def taken(path: Path) -> Directory:
    """Give what is below a directory, as durable."""
    directory = Directory()
    for entry in path.iterdir():
        directory.now[entry.name] = taken(entry) if entry.is_dir() else File(entry.read_bytes())
    directory.sync()
    return directory


def _put(name: str, file: File | Directory) -> Callable[[Names], object]:
    return lambda names: names.update({name: file})


def _states(directory: Directory, path: PurePath) -> Iterator[State]:
    for names in directory.listings():
        yield from _combined([_of(file, path / name) for name, file in sorted(names.items())])


def _of(file: File | Directory, path: PurePath) -> list[State]:
    """Give each thing that may be at a path."""
    if path.name in IGNORED:
        return [{}]
    if isinstance(file, File):
        return [{str(path): content} for content in file.contents()]
    return [{str(path): None, **state} for state in _states(file, path)]


def _combined(choices: list[list[State]]) -> Iterator[State]:
    for chosen in product(*choices):
        state: State = {}
        for part in chosen:
            state |= part
        yield state
