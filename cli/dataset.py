"""The documents of a run, wherever they come from.

`names` is the canonical list of names, fetched once into a cache directory and verified; without a
network it is the bundled list. Anything else is the path of a file with one document a line.
"""

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UsageError
from coordinator.checkpoint import DatasetRecord
from engine.errors import DatasetError

NAMES, BUNDLED = "names", "bundled"
# The list that microgpt trains on: karpathy/makemore (MIT licence), 32,033 names.
NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/988aa59/names.txt"
NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
NAMES_BYTES_MAX = 1_000_000
FETCH_S = 10.0
CACHED = "names.txt"  # in the cache directory

BUNDLED_PATH = Path(__file__).with_name("given_names.txt")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents and where they are from.

    Attributes:
        name: `names`, `bundled`, or an absolute path.
        texts: one for each line that is not blank, stripped, in the order of the file.
        sha256: of the file's bytes.
    """

    name: str
    texts: list[str]
    sha256: str

    @property
    def record(self) -> DatasetRecord:
        return DatasetRecord(self.name, len(self.texts), self.sha256)


def load_dataset(name: str, warn: Callable[[str], None]) -> Dataset:
    """Read a dataset by name or path.

    Args:
        warn: told in one line if the bundled list stands in for the canonical one.

    Raises:
        UsageError: there is no such file.
        DatasetError: the file holds no documents.
    """
    if name == BUNDLED:
        return _parse(BUNDLED, BUNDLED_PATH.read_bytes())
    if name == NAMES:
        data, problem = _canonical_names()
        if data is not None:
            return _parse(NAMES, data)
        bundled = _parse(BUNDLED, BUNDLED_PATH.read_bytes())
        warn(
            f"the names list cannot be fetched ({problem});"
            f" training on the {len(bundled.texts):,} bundled names instead"
        )
        return bundled
    path = Path(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"expected a file of documents, got {name!r} ({error.strerror})"
            f" — --data; give a path, or {NAMES}"
        ) from None
    return _parse(str(path.resolve()), data)


def cache_directory() -> Path:
    """Give the directory for what is fetched: GRADFLOCK_CACHE_DIR, or the user's cache."""
    if configured := os.environ.get("GRADFLOCK_CACHE_DIR"):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "gradflock"
    except RuntimeError:  # an account without a home
        raise UsageError(
            "expected a home directory for the cache, got none — set GRADFLOCK_CACHE_DIR"
        ) from None


def look_at_cached_names() -> tuple[Path, bool | None]:
    """Give where the canonical list is kept, and whether it is right; None if there is none."""
    path = cache_directory() / CACHED
    try:
        return path, _is_canonical(path.read_bytes())
    except OSError:
        return path, False if path.exists() else None


def _parse(name: str, data: bytes) -> Dataset:
    try:
        text = data.decode("utf-8-sig")  # a byte order mark is not a character of the documents
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"expected UTF-8 text, got byte 0x{data[error.start]:02x} in line {line}"
            f" — {name}; convert the file to UTF-8"
        ) from None
    texts = [line.strip() for line in text.split("\n") if line.strip()]
    if not texts:
        raise DatasetError(
            f"expected one document a line, got an empty file — {name}; give another --data"
        )
    return Dataset(name, texts, hashlib.sha256(data).hexdigest())


def _canonical_names() -> tuple[bytes | None, str]:
    """Give the list, or None and why not."""
    path = cache_directory() / CACHED
    try:
        cached = path.read_bytes()
        if _is_canonical(cached):
            return cached, ""
    except OSError:
        pass  # not fetched yet
    try:
        with urllib.request.urlopen(NAMES_URL, timeout=FETCH_S) as response:
            fetched: bytes = response.read(NAMES_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        return None, str(getattr(error, "reason", error))
    if not _is_canonical(fetched):
        return None, "the checksum of what came is wrong"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".names.{os.getpid()}.tmp")
        temporary.write_bytes(fetched)
        temporary.rename(path)
    except OSError:
        pass  # a cache that cannot be written costs a fetch next time, nothing else
    return fetched, ""


def _is_canonical(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == NAMES_SHA256
