"""A directory of keys: the server's own, those it has made for others, and who may enter.

    DIR/server.key        the server's key pair; secret
    DIR/NAME.key          what NAME needs to connect; secret, to be carried there
    DIR/allowed/NAME.pub  NAME's public key: it may enter
    DIR/revoked/NAME.pub  it may no longer, and nobody gets its name again

To allow and to revoke is to make and to move a file, so a server sees both while it runs. Whoever
can write here decides who may enter, and whoever can read a secret can use it; what others than its
owner or root can write, and secrets that they can read, are refused.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wire.errors import KeysError
from wire.keys import KEY_FORM, NAME_FORM, NAME_RULE, Allowlist, ClientKey, ServerKey
from wire.security import check_pair, new_client_key, new_server_key

PRIVATE, PRIVATE_DIRECTORY = 0o600, 0o700
OTHERS_READ, OTHERS_WRITE = 0o077, 0o022
FILE_BYTES_MAX = 4096  # far above a key file
PUBLIC_SUFFIX = ".pub"
SERVER = "server"  # whose key file is the server's
LOCK_S, LOCK_LOOK_S = 5.0, 0.05

# Name, inode and time of each file: it is another one when the list is.
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A key that this directory has made."""

    name: str
    public: str
    is_revoked: bool


class Keyring:
    """One directory of keys.

    Attributes:
        complaints: what was wrong with the list when it was last read, for people.
    """

    def __init__(self, path: Path) -> None:
        """Name the directory; it need not exist."""
        self.path = path
        self.complaints: list[str] = []

    # ---- for the server ---------------------------------------------------------------------

    def server_key(self) -> ServerKey:
        """Read the server's own key pair.

        Raises:
            KeysError: there is none, it is damaged, or others can read it or write here.
        """
        if not self._server.exists():
            raise KeysError(
                f"expected server.key, got none — {self.path}; make the first key there:"
                f" gradflock keys new NAME --keys {self.path}"
            )
        self._check_directories()
        key = ServerKey.from_toml(_read_secret(self._server), str(self._server))
        check_pair(key, str(self._server))
        return key

    def allowlist(self) -> Allowlist:
        """Read who may enter; what is no key of ours lets nobody in, and is complained of.

        Raises:
            KeysError: others can write here.
            OSError: the directory cannot be read now.
        """
        self._check_directories()
        listed = self.listed()
        return Allowlist(
            {key.public: key.name for key in listed if not key.is_revoked},
            {key.public: key.name for key in listed if key.is_revoked},
        )

    def stamp(self) -> Stamp:
        """Give what changes when the list does.

        Raises:
            OSError: the directory cannot be read now.
        """
        found = []
        for directory in (self._allowed, self._revoked):
            for path in _public_files(directory):
                with suppress(FileNotFoundError):  # it was moved just now
                    status = path.stat(follow_symlinks=False)
                    found.append((str(path), status.st_ino, status.st_ctime_ns))
        return tuple(found)

    def listed(self) -> list[Listed]:
        """Give every key that was made here, by name.

        Raises:
            OSError: the directory cannot be read now.
        """
        self.complaints = []
        found = []
        for directory, is_revoked in ((self._allowed, False), (self._revoked, True)):
            for path in _public_files(directory):
                text, wrong = _read_public(path)
                if wrong:
                    self.complaints.append(f"expected a public key, got {wrong} — {path}")
                else:
                    found.append(Listed(path.stem, text, is_revoked))
        return sorted(found, key=lambda key: key.name)

    # ---- for whoever decides ----------------------------------------------------------------

    def new(self, name: str, hand_over: Callable[[ClientKey], None]) -> None:
        """Make a key pair and let it in; the server's own too, if there is none yet.

        Args:
            hand_over: told what its owner needs, which is kept nowhere else; if it raises, nobody
                is let in.

        Raises:
            KeysError: the name cannot be one, is taken, or was revoked.
        """
        _check_name(name)
        self._make_directories()
        with self._lock():
            for public, has in ((self._allowed, "has a key"), (self._revoked, "was revoked")):
                if (public / f"{name}{PUBLIC_SUFFIX}").exists():
                    raise KeysError(
                        f"expected a new name, got {name!r} which {has} — {self.path};"
                        " take another, or see gradflock keys list"
                    )
            self._make(name, hand_over)

    def make_anew(self, name: str, hand_over: Callable[[ClientKey], None]) -> bool:
        """Give a name another key pair in place of one that is lost, unless it was revoked.

        Returns:
            Whether it has one now.

        Raises:
            KeysError: the name cannot be one.
        """
        _check_name(name)
        self._make_directories()
        with self._lock():
            if (self._revoked / f"{name}{PUBLIC_SUFFIX}").exists():
                return False
            self._make(name, hand_over)
            return True

    def revoke(self, name: str) -> None:
        """Let a key in no more, for good.

        Raises:
            KeysError: no key has this name, or it was revoked before.
        """
        public = self._allowed / f"{name}{PUBLIC_SUFFIX}"
        if not NAME_FORM.fullmatch(name) or not public.exists():
            names = ", ".join(key.name for key in self.known() if not key.is_revoked)
            raise KeysError(
                f"expected the name of a key that is allowed ({names or 'none is'}), got"
                f" {name!r} — {self.path}; see gradflock keys list"
            )
        self._make_directories()
        public.rename(self._revoked / public.name)
        _sync(self._revoked)
        _sync(self._allowed)

    def known(self) -> list[Listed]:
        """Give every key that was made here, by name.

        Raises:
            KeysError: there is no such directory.
        """
        if not self.path.is_dir():
            raise KeysError(
                f"expected a directory of keys, got none — {self.path}; make the first:"
                f" gradflock keys new NAME --keys {self.path}"
            )
        return self.listed()

    # ---- files ------------------------------------------------------------------------------

    @property
    def _server(self) -> Path:
        return self.path / f"{SERVER}.key"

    @property
    def _allowed(self) -> Path:
        return self.path / "allowed"

    @property
    def _revoked(self) -> Path:
        return self.path / "revoked"

    def _make_directories(self) -> None:
        for directory in (self.path, self._allowed, self._revoked):
            directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)

    def _make(self, name: str, hand_over: Callable[[ClientKey], None]) -> None:
        if not self._server.exists():
            write_secret(self._server, new_server_key().to_toml())
        key = new_client_key(name, self.server_key().public)
        hand_over(key)
        _write(self._allowed / f"{name}{PUBLIC_SUFFIX}", key.public + "\n")

    def _check_directories(self) -> None:
        for directory in (self.path, self._allowed, self._revoked):
            if directory.exists() and (wrong := _others_decide(directory.stat())):
                raise KeysError(
                    f"expected a directory that only its owner can write to, got {wrong}"
                    f" — {directory}; chmod 700 and chown it to whom the server runs as"
                )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other commands that make keys from doing so at once."""
        lock = self.path / ".lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)
        deadline_s = time.monotonic() + LOCK_S
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        raise KeysError(
                            f"expected to be alone within {LOCK_S:g} s, got another command that"
                            f" makes keys — {lock}; let it end, then try again"
                        ) from None
                    time.sleep(LOCK_LOOK_S)
            yield
        finally:
            os.close(descriptor)


def read_client_key(path: Path) -> ClientKey:
    """Read the file that a peer was given.

    Raises:
        KeysError: there is none, it is damaged, or others can read it.
    """
    key = ClientKey.from_toml(_read_secret(path), str(path))
    check_pair(key, str(path))
    return key


def write_secret(path: Path, text: str) -> None:
    """Write a new file that only its owner can read.

    Raises:
        KeysError: there is such a file already, or none can be there.
    """
    if path.exists() or path.is_symlink() or not path.name:
        raise KeysError(
            f"expected no file there yet, got one — {path}; choose another place for the key"
        )
    try:
        _write(path, text)
    except OSError as error:
        raise KeysError(
            f"expected to write a key file, got {error.strerror} — {path}; choose another place"
        ) from None


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & OTHERS_READ:
                raise KeysError(
                    f"expected a key file that only its owner can read, got mode {mode:04o}"
                    f" — {path}; chmod 600 {path}, and if others have read it, make a new one"
                )
            return file.read(FILE_BYTES_MAX).decode(errors="replace")
    except PermissionError as error:
        remedy, wrong = "run this as its owner", error.strerror
    except OSError as error:
        remedy, wrong = "make one where the server runs: gradflock keys new NAME", error.strerror
    raise KeysError(f"expected a key file, got {wrong} — {path}; {remedy}")


def _read_public(path: Path) -> tuple[str, str]:
    """Give what a file holds, and what is wrong with it; empty if it is a key nobody else wrote.

    Raises:
        OSError: of the process or the disk, and not of this file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM):
            raise
        return "", str(error.strerror)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "", "something that is no file"
        if wrong := _others_decide(status):
            return "", f"one that others can change ({wrong})"
        text = os.read(descriptor, FILE_BYTES_MAX).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    return text, "" if KEY_FORM.fullmatch(text) else repr(text[:40])


def _others_decide(status: os.stat_result) -> str:
    """Say why others than us and root can change this; empty if they cannot."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & OTHERS_WRITE:
        return f"mode {mode:04o}"
    return "" if status.st_uid in (0, os.geteuid()) else f"owner {status.st_uid}"


def _check_name(name: str) -> None:
    if not NAME_FORM.fullmatch(name) or name == SERVER:
        raise KeysError(
            f"expected a name of {NAME_RULE}, other than {SERVER}, got {name!r} — keys new;"
            " take another"
        )


def _public_files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == PUBLIC_SUFFIX)
    except FileNotFoundError:
        return []


def _write(path: Path, text: str) -> None:
    """Put a whole file there, durably; nothing is left beside it, whatever goes wrong."""
    temporary = path.parent / f".{path.name}.tmp"
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with open(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
