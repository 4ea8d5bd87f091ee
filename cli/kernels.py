"""The compiled engine's kernels and programs on disk: each machine compiles them once.

They live in the cache directory, under a key of all that they depend on: the engine's sources and
where these are, the versions that compile them, the processor. A lock lets one process compile
while others wait for it. Checksums say what is whole: a kernel that is not would crash. A container
image brings its own (GRADFLOCK_KERNELS), which are copied to where they can be written.
"""

import fcntl
import gc
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

import engine
from cli.dataset import cache_directory
from engine.compiled import Compiled, compile_model
from engine.config import ModelConfig, TrainConfig, canonical_json
from engine.encode import Library
from engine.engines import engine_of
from engine.gradient import Engine
from engine.kernels import keep_compiled, kernel_target
from engine.optimizer import Moments
from engine.params import from_bytes

KERNELS = "numba"  # directory of what numba has compiled
MANIFEST = "kernels.json"  # its checksums
PROGRAMS_S = 25e-6  # to compile the programs of a model, for each parameter and position
SAID_S = 2.0  # a wait that is worth a line

Say = Callable[[str], None]


def make_engine(name: str, model: ModelConfig, say: Say) -> Engine:
    """Give the engine of that name; a compiled one uses what is on disk.

    Args:
        say: told, before the first gradient, if that has to wait for a compilation.
    """
    if name == "compiled":
        return Compiled(model, partial(kept_library, say=say))
    return engine_of(name, model)


def kept_library(model: ModelConfig, say: Say) -> Library:
    """Give the programs of a model, and have the kernels ready; without a disk if need be."""
    try:
        return keep_library(model, say)
    except OSError as error:
        say(
            f"expected to keep kernels in {cache_directory()}, got {error.strerror or error}"
            " — compiling for this process alone; set GRADFLOCK_CACHE_DIR"
        )
        return _compiled_library(model)


def keep_library(model: ModelConfig, say: Say) -> Library:
    """Give the programs of a model, and have the kernels that replay them ready.

    Raises:
        OSError: the cache directory cannot be used.
    """
    directory = cache_directory() / "kernels" / _key()
    directory.parent.mkdir(parents=True, exist_ok=True)
    _take_shipped(directory)
    directory.mkdir(exist_ok=True)
    with _lock(directory, say):
        return _load(directory, model, say)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache directory holds for this machine and version, and for a model.

    Attributes:
        directory: where it is, or would be.
        has_manifest: kernels were compiled there once.
        is_whole: and they are those.
        has_programs: the model's programs are there, whole.
        is_shipped: an image brings kernels, which the next process copies.
    """

    directory: Path
    has_manifest: bool
    is_whole: bool
    has_programs: bool
    is_shipped: bool

    @property
    def is_warm(self) -> bool:
        """Say whether a process with this model has nothing to compile."""
        return self.is_whole and self.has_programs


def look_at_kept(model: ModelConfig) -> Kept:
    """See what is kept, and change nothing."""
    directory = cache_directory() / "kernels" / _key()
    manifest = directory / MANIFEST
    return Kept(
        directory,
        manifest.exists(),
        _is_whole(manifest, directory / KERNELS),
        _read_library(_programs_path(directory, model)) is not None,
        not directory.exists() and _shipped(directory).is_dir(),
    )


def _programs_path(directory: Path, model: ModelConfig) -> Path:
    name = hashlib.sha256(canonical_json(asdict(model)).encode()).hexdigest()
    return directory / f"{name}.npz"


def _key() -> str:
    sources = Path(engine.__path__[0]).resolve()
    digest = hashlib.sha256(f"{sys.version} {kernel_target()} {sources} ".encode())
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f"{package} {version(package)} ".encode())
    for path in sorted(sources.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _take_shipped(directory: Path) -> None:
    """Copy what an image brings, unless there is something already."""
    shipped = _shipped(directory)
    if directory.exists() or not shipped.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".copy-") as temporary:
        copy = Path(temporary) / directory.name
        shutil.copytree(shipped, copy)
        with suppress(OSError):  # somebody else was faster
            copy.rename(directory)


def _shipped(directory: Path) -> Path:
    return Path(os.environ.get("GRADFLOCK_KERNELS", os.devnull)) / directory.name


@contextmanager
def _lock(directory: Path, say: Say) -> Iterator[None]:
    with (directory / "LOCK").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not (directory / MANIFEST).exists():
                say("waiting for another process that compiles the kernels")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load(directory: Path, model: ModelConfig, say: Say) -> Library:
    kernels, manifest = directory / KERNELS, directory / MANIFEST
    is_whole = _is_whole(manifest, kernels)
    if not is_whole:
        manifest.unlink(missing_ok=True)
        shutil.rmtree(kernels, ignore_errors=True)
    path = _programs_path(directory, model)
    library = _read_library(path)
    programs_s = 0.0 if library is not None else PROGRAMS_S * model.num_params * model.block_size
    is_said = not is_whole or programs_s > SAID_S
    began_s = time.monotonic()
    if is_said:
        what = "the model's programs" if is_whole else "the kernels, once on this machine"
        say(f"compiling {what}: about {programs_s + (0 if is_whole else 8):.0f} s")
    if library is None:
        library = _compiled_library(model)
        _write(path, _to_bytes(library))
    kernels.mkdir(exist_ok=True)
    keep_compiled(str(kernels))  # after all that a full disk could fail: it has to be writable
    _replay_once(model, library)  # here, under the lock: it loads the kernels, or compiles them
    if not is_whole:
        _write(manifest, json.dumps(_checksums(kernels)).encode())
    if is_said:
        say(f"compiled in {time.monotonic() - began_s:.1f} s")
    return library


def _compiled_library(model: ModelConfig) -> Library:
    """Compile without the collector: a graph of 10^5 nodes has no cycles, and takes twice as long
    when it is walked again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return compile_model(model)
    finally:
        if was_enabled:
            gc.enable()


def _replay_once(model: ModelConfig, library: Library) -> None:
    params, moments = from_bytes(bytes(8 * model.num_params)), Moments.zeros(model.num_params)
    engine = Compiled(model, lambda _: library)
    grad = engine.gradient(params, [[0, 0]]).grad
    engine.update(TrainConfig(steps=1, batch_size=1, shards=1), 0, params, moments, grad)


# ---- files ---------------------------------------------------------------------------------------


def _is_whole(manifest: Path, kernels: Path) -> bool:
    try:
        expected = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return False
    return bool(expected) and bool(expected == _checksums(kernels))


def _checksums(kernels: Path) -> dict[str, str]:
    return {
        str(path.relative_to(kernels)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kernels.rglob("*"))
        if path.is_file()
    }


def _to_bytes(library: Library) -> bytes:
    """Give a library as a file: the sha256 of an .npz, and the .npz."""
    file = io.BytesIO()
    np.savez(
        file,
        code=library.code,
        constants=library.constants,
        places=library.places,
        spans=library.spans,
        rows=np.asarray(library.rows),
    )
    data = file.getvalue()
    return hashlib.sha256(data).digest() + data


def _read_library(path: Path) -> Library | None:
    """Give what `_to_bytes` made, or None if there is nothing whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = {field.name: arrays[field.name] for field in fields(Library)}
    return Library(**{**values, "rows": int(values["rows"])})


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")  # one for each file: whoever writes has the lock
    temporary.write_bytes(data)
    temporary.rename(path)
