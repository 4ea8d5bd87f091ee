"""A directory of keys: the server's own, those it has made for others, and who may enter.

    DIR/server.key        the server's key pair; secret
    DIR/NAME.key          what NAME needs to connect; secret, to be carried there
    DIR/allowed/NAME.pub  NAME's public key: it may enter
    DIR/revoked/NAME.pub  it may no longer, and nobody gets its name again

To allow and to revoke is to make and to move a file, so a server sees both while it runs. Whoever
can write here decides who may enter, and whoever can read the secrets is that peer; a directory or
file that lets others do so is refused, as ssh does.
"""

import fcntl
import os
import stat
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
        """Read who may enter; a file that is no public key lets nobody in, and is complained of."""
        self.complaints = []
        listed = self.listed()
        return Allowlist(
            {key.public: key.name for key in listed if not key.is_revoked},
            {key.public: key.name for key in listed if key.is_revoked},
        )

    def stamp(self) -> Stamp:
        """Give what changes when the list does."""
        found = []
        for directory in (self._allowed, self._revoked):
            for path in _public_files(directory):
                with suppress(FileNotFoundError):  # it was moved just now
                    status = path.stat(follow_symlinks=False)
                    found.append((str(path), status.st_ino, status.st_mtime_ns))
        return tuple(found)

    def listed(self) -> list[Listed]:
        """Give every key that was made here, by name.

        Raises:
            OSError: the directory cannot be read now.
        """
        found = []
        for directory, is_revoked in ((self._allowed, False), (self._revoked, True)):
            for path in _public_files(directory):
                try:
                    text = path.read_bytes()[:FILE_BYTES_MAX].decode(errors="replace").strip()
                except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
                    text = str(error.strerror)  # of this file; anything else is of the whole list
                if KEY_FORM.fullmatch(text):
                    found.append(Listed(path.stem, text, is_revoked))
                else:
                    self.complaints.append(f"expected a public key, got {text[:40]!r} — {path}")
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
        if not NAME_FORM.fullmatch(name):
            raise KeysError(f"expected a name of {NAME_RULE}, got {name!r} — keys new")
        for directory in (self.path, self._allowed, self._revoked):
            directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with self._lock():
            if not self._server.exists():
                write_secret(self._server, new_server_key().to_toml())
            for directory, has in ((self._allowed, "has a key"), (self._revoked, "was revoked")):
                if (directory / f"{name}{PUBLIC_SUFFIX}").exists():
                    raise KeysError(
                        f"expected a new name, got {name!r} which {has} — {self.path};"
                        " take another, or see gradflock keys list"
                    )
            key = new_client_key(name, self.server_key().public)
            hand_over(key)
            _write(self._allowed / f"{name}{PUBLIC_SUFFIX}", key.public + "\n")

    def revoke(self, name: str) -> None:
        """Let a key in no more, for good.

        Raises:
            KeysError: no key has this name, or it was revoked before.
        """
        with self._lock():
            public = self._allowed / f"{name}{PUBLIC_SUFFIX}"
            if not NAME_FORM.fullmatch(name) or not public.exists():
                names = ", ".join(key.name for key in self.listed() if not key.is_revoked)
                raise KeysError(
                    f"expected the name of a key that is allowed ({names or 'none is'}), got"
                    f" {name!r} — {self.path}; see gradflock keys list"
                )
            public.rename(self._revoked / public.name)
            _sync(self._revoked)
            _sync(self._allowed)

    # ---- files ------------------------------------------------------------------------------

    @property
    def _server(self) -> Path:
        return self.path / "server.key"

    @property
    def _allowed(self) -> Path:
        return self.path / "allowed"

    @property
    def _revoked(self) -> Path:
        return self.path / "revoked"

    def _check_directories(self) -> None:
        for directory in (self.path, self._allowed, self._revoked):
            mode = stat.S_IMODE(directory.stat().st_mode) if directory.exists() else 0
            if mode & OTHERS_WRITE:
                raise KeysError(
                    f"expected a directory that only its owner can write to, got mode {mode:04o}"
                    f" — {directory}; chmod 700 {directory}"
                )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise KeysError(
                f"expected a directory of keys, got none — {self.path}; make the first:"
                f" gradflock keys new NAME --keys {self.path}"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
        KeysError: there is such a file already.
    """
    try:
        _write(path, text, is_new=True)
    except FileExistsError:
        raise KeysError(
            f"expected no file there yet, got one — {path}; move it away, or name another"
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
    except OSError as error:
        raise KeysError(
            f"expected a key file, got {error.strerror} — {path}; make one where the server runs:"
            " gradflock keys new NAME"
        ) from None


def _public_files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == PUBLIC_SUFFIX)
    except FileNotFoundError:
        return []


def _write(path: Path, text: str, *, is_new: bool = False) -> None:
    """Put a whole file there, durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        os.link(temporary, path)
        temporary.unlink()
    else:
        temporary.rename(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
