"""Kernels and programs on disk: what is not whole is never used, and no disk is no obstacle.

In this process, which has its kernels already: to notice damage costs nothing here. That processes
compile, wait and recover is told in tests/integration/test_cold_start.py.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cli.kernels import keep_library, make_engine
from engine.compiled import Compiled, compile_model
from engine.config import ModelConfig
from engine.encode import Library
from engine.params import Flat, from_bytes

pytestmark = pytest.mark.integration

MODEL = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=2)
DOCUMENTS = [[0, 1, 0], [0, 2, 1], [0, 0]]
COMPILING = "compiling the kernels, once on this machine"

Damage = Callable[[bytes], bytes]


def params() -> Flat:
    return from_bytes(np.linspace(-1, 1, MODEL.num_params).tobytes())


def damages(size: int, count: int, seed: str) -> Iterator[Damage]:
    """Give as many flips of one bit as cuts, at random places of a file."""
    rng = random.Random(seed)
    for _ in range(count):
        at, bit = rng.randrange(size), 1 << rng.randrange(8)
        yield lambda data, at=at, bit=bit: data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
        yield lambda data, at=at: data[:at]


def assert_same(library: Library, expected: Library) -> None:
    for field in fields(Library):
        assert np.array_equal(getattr(library, field.name), getattr(expected, field.name))


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has taken the kernels of the tests and compiled the programs of MODEL."""
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", str(tmp_path))
    assert said_by_keeping() == []
    (directory,) = (tmp_path / "kernels").iterdir()
    return directory


def said_by_keeping() -> list[str]:
    said: list[str] = []
    assert_same(keep_library(MODEL, said.append), expected_library())
    return said


@cache
def expected_library() -> Library:
    return compile_model(MODEL)


def programs_in(directory: Path) -> Path:
    """Give the file of MODEL's programs: the one that was not brought."""
    brought = Path(os.environ["GRADFLOCK_KERNELS"]) / directory.name
    (path,) = (path for path in directory.glob("*.npz") if not (brought / path.name).exists())
    return path


# ---- damage --------------------------------------------------------------------------------------


def test_programs_are_read_as_they_were_written_and_written_once(directory: Path) -> None:
    programs = programs_in(directory)
    before = programs.stat()

    assert said_by_keeping() == []

    assert programs.stat().st_ino == before.st_ino
    assert programs.stat().st_mtime_ns == before.st_mtime_ns


def test_damaged_programs_are_never_used(directory: Path) -> None:
    """A wrong number in them would be an address: kernels check nothing."""
    programs = programs_in(directory)
    whole = programs.read_bytes()

    for damage in damages(len(whole), 100, "programs"):
        damaged = damage(whole)
        programs.write_bytes(damaged)
        assert said_by_keeping() == []
        assert programs.read_bytes() != damaged, "it is written anew"


@pytest.mark.parametrize("pattern", ["numba/*/*.nbc", "numba/*/*.nbi", "kernels.json"])
def test_damaged_kernels_are_noticed(directory: Path, pattern: str) -> None:
    file, *_ = sorted(directory.glob(pattern))
    for damage in damages(file.stat().st_size, 10, pattern):
        file.write_bytes(damage(file.read_bytes()))

        compiling, _ = said_by_keeping()

        assert compiling.startswith(COMPILING)
        shutil.rmtree(directory)
        assert said_by_keeping() == [], "they have been copied once more"


@pytest.mark.parametrize("pattern", ["numba/*/*.nbc", "numba/*/*.nbi", "kernels.json"])
def test_missing_kernels_are_noticed(directory: Path, pattern: str) -> None:
    file, *_ = sorted(directory.glob(pattern))
    file.unlink()

    assert said_by_keeping()[0].startswith(COMPILING)


def test_kernels_that_nobody_vouches_for_are_noticed(directory: Path) -> None:
    """Numba's index names the file it loads; another one may be what a killed process left."""
    file, *_ = sorted(directory.glob("numba/*/*.nbc"))
    shutil.copy(file, file.with_name("other.nbc"))

    assert said_by_keeping()[0].startswith(COMPILING)


# ---- what others have left -----------------------------------------------------------------------


def test_what_a_killed_process_was_copying_or_writing_does_no_harm(
    directory: Path, tmp_path: Path
) -> None:
    copying = tmp_path / "kernels" / ".copy-killed" / directory.name
    shutil.copytree(directory / "numba", copying / "numba")
    directory.joinpath("kernels.tmp").write_bytes(b"{")
    programs_in(directory).with_suffix(".tmp").write_bytes(b"PK")
    programs_in(directory).unlink()

    assert said_by_keeping() == []
    assert programs_in(directory).stat().st_size > 2


@pytest.mark.parametrize("content", ["nothing", "no directory", "ruins"])
def test_an_image_that_brings_no_kernels_is_no_obstacle(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    shipped = tmp_path / "shipped"
    monkeypatch.setenv("GRADFLOCK_KERNELS", str(shipped))
    if content == "no directory":
        shipped.write_bytes(b"")
    elif content == "ruins":
        (shipped / directory.name / "numba").mkdir(parents=True)
        (shipped / directory.name / "kernels.json").write_bytes(b"{}")
    shutil.rmtree(directory)

    assert said_by_keeping()[0].startswith(COMPILING)
    assert directory.is_dir()


# ---- no disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("obstacle", [".", "kernels"])
def test_an_engine_without_a_directory_works_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    """A file stands where a directory is needed, which stops root too."""
    cache = tmp_path / "cache"
    (cache / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (cache / obstacle).write_bytes(b"")
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", str(cache))
    said: list[str] = []
    engine = make_engine("compiled", MODEL, said.append)
    assert said == [], "nothing is done before there is something to compute"

    gradients = [engine.gradient(params(), DOCUMENTS) for _ in range(2)]

    (line,) = said
    assert line.startswith(f"expected to keep kernels in {cache}, got ")
    assert line.endswith(" — compiling for this process alone; set GRADFLOCK_CACHE_DIR")
    assert gradients == [Compiled(MODEL).gradient(params(), DOCUMENTS)] * 2
