"""The first start on a machine: kernels are compiled once, by one process, and kept whole."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine.compiled import Compiled
from engine.config import ModelConfig
from engine.params import from_bytes
from tests.integration.flock import PATIENCE_S, ROOT, Lab, Process

pytestmark = pytest.mark.integration

PACKAGES = ("engine", "wire", "coordinator", "worker", "sampler", "cli")
COMPILING, WAITING = "compiling the kernels", "waiting for another process"
COLD = {"GRADFLOCK_KERNELS": os.devnull}

MODEL = ModelConfig(vocab_size=27)  # its programs are among what the tests' own kernels bring
PARAMS = np.linspace(-0.1, 0.1, MODEL.num_params).tobytes()
DOCUMENTS = [[0, 5, 13, 13, 1, 0], [0, 1, 0]] * 5
GRADIENT = f"""
import resource, sys
from hashlib import sha256

from cli.kernels import make_engine
from cli.view import say
from engine.config import ModelConfig
from engine.params import from_bytes

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
engine = make_engine("compiled", ModelConfig(vocab_size=27), say)
gradient = engine.gradient(from_bytes(sys.stdin.buffer.read()), {DOCUMENTS})
print(gradient.loss.hex(), sha256(gradient.grad).hexdigest())
"""


@cache
def expected_gradient() -> str:
    gradient = Compiled(MODEL).gradient(from_bytes(PARAMS), DOCUMENTS)
    return f"{gradient.loss.hex()} {hashlib.sha256(gradient.grad).hexdigest()}"


def said_before_the_gradient(
    lab: Lab, file_bytes_max: int = resource.RLIM_INFINITY, **environment: str
) -> list[str]:
    """Compute a gradient in a process of its own, which must have the right bits."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", GRADIENT, str(file_bytes_max)],
        input=PARAMS,
        capture_output=True,
        env={**lab.environment, **COLD, **environment},
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout.decode().strip()) == (0, expected_gradient()), done.stderr
    return done.stderr.decode().splitlines()


def start_compiling(lab: Lab, **environment: str) -> Process:
    return lab.start("compile", **{**COLD, **environment})


def kept(lab: Lab) -> dict[str, str]:
    """Give the directories of kernels in the lab's cache, and what each has of them."""
    directories = (lab.directory / "cache" / "kernels").iterdir()
    return {directory.name: fingerprint(directory) for directory in directories}


def fingerprint(directory: Path) -> str:
    """Name all files of a directory with their content and the time they were written."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "LOCK")
    return "\n".join(
        f"{path.relative_to(directory)} {path.stat().st_mtime_ns}"
        f" {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in files
    )


@pytest.fixture
def warm(lab: Lab) -> Path:
    """Kernels in the lab's cache, copied from those of the tests."""
    assert said_before_the_gradient(lab, GRADFLOCK_KERNELS=os.environ["GRADFLOCK_KERNELS"]) == []
    (directory,) = (lab.directory / "cache" / "kernels").iterdir()
    return directory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The same sources in another place."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / "checkout" / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return tmp_path / "checkout"


# ---- several processes ---------------------------------------------------------------------------


def test_of_processes_that_start_at_once_one_compiles_and_the_others_wait(lab: Lab) -> None:
    processes = [start_compiling(lab) for _ in range(3)]

    said = [process.wait_until_it_says(" the kernels") for process in processes]

    assert sum(line.startswith(COMPILING) for line in said) == 1
    assert sum(line.startswith(WAITING) for line in said) == 2


@pytest.mark.long
def test_processes_that_start_at_once_on_a_new_machine_compile_the_kernels_once(lab: Lab) -> None:
    processes = [start_compiling(lab) for _ in range(3)]

    assert [process.exit_code() for process in processes] == [0, 0, 0]

    assert sum(COMPILING in process.stderr for process in processes) == 1
    assert sum(WAITING in process.stderr for process in processes) == 2
    assert said_before_the_gradient(lab) == []


@pytest.mark.long
def test_a_process_killed_while_it_compiles_leaves_the_work_to_the_one_that_waits(
    lab: Lab,
) -> None:
    """A container is removed during its first start; the next one must not find a ruin."""
    first = start_compiling(lab)
    first.wait_until_it_says(COMPILING)
    second = start_compiling(lab)
    second.wait_until_it_says(WAITING)

    first.send(signal.SIGKILL)

    assert second.exit_code() == 0, second.stderr
    assert COMPILING in second.stderr
    assert said_before_the_gradient(lab) == []


# ---- kernels that an image brings ----------------------------------------------------------------


def test_a_start_with_kernels_says_nothing_and_writes_nothing(lab: Lab, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(os.environ["GRADFLOCK_KERNELS"], shipped)
    before = fingerprint(shipped)

    assert said_before_the_gradient(lab, GRADFLOCK_KERNELS=str(shipped)) == []

    ((key, copied),) = kept(lab).items()
    assert copied == fingerprint(shipped / key)
    assert said_before_the_gradient(lab, GRADFLOCK_KERNELS=str(shipped)) == []
    assert kept(lab) == {key: copied}
    assert fingerprint(shipped) == before


def test_kernels_for_another_processor_are_left_alone(lab: Lab, warm: Path) -> None:
    """An image may be built on one kind of machine and run on another."""
    before = kept(lab)
    shipped = os.environ["GRADFLOCK_KERNELS"]

    process = start_compiling(lab, GRADFLOCK_KERNELS=shipped, NUMBA_CPU_NAME="generic")

    process.wait_until_it_says(COMPILING)
    process.send(signal.SIGKILL)
    assert len(kept(lab)) == 2
    assert kept(lab)[warm.name] == before[warm.name]


# ---- several checkouts ---------------------------------------------------------------------------


def test_each_checkout_and_each_change_of_the_engine_has_kernels_of_its_own(
    lab: Lab, warm: Path, checkout: Path
) -> None:
    before = kept(lab)

    def compiles_anew() -> bool:
        count = len(kept(lab))
        process = start_compiling(lab, PYTHONPATH=str(checkout))
        process.wait_until_it_says(COMPILING)
        process.send(signal.SIGKILL)
        process.exit_code()
        return len(kept(lab)) == count + 1

    assert compiles_anew()
    for source in ("ops.py", "tree.py"):
        with (checkout / "engine" / source).open("a") as file:
            file.write("\n# changed\n")
        assert compiles_anew()
    assert said_before_the_gradient(lab) == []
    assert kept(lab)[warm.name] == before[warm.name]


@pytest.mark.long
def test_two_checkouts_share_a_cache_and_each_finds_its_own(
    lab: Lab, warm: Path, checkout: Path
) -> None:
    compiling, _ = said_before_the_gradient(lab, PYTHONPATH=str(checkout))
    assert compiling.startswith(COMPILING)
    both = kept(lab)
    (checkout / "engine" / "kernels.py").touch()  # as a copy of it, or an archive, would be

    assert said_before_the_gradient(lab) == []
    assert said_before_the_gradient(lab, PYTHONPATH=str(checkout)) == []
    assert len(both) == 2
    assert kept(lab) == both


# ---- damage --------------------------------------------------------------------------------------

DAMAGES = {
    "a flipped bit": lambda data: (
        bytes([*data[: len(data) // 2], data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "a cut end": lambda data: data[: len(data) // 2],
    "nothing in it": lambda _: b"",
}


@pytest.mark.parametrize(
    "damage",
    ["a flipped bit", *(pytest.param(d, marks=pytest.mark.long) for d in [*DAMAGES][1:])],
)
def test_damaged_programs_are_compiled_anew(lab: Lab, warm: Path, damage: str) -> None:
    """It takes a second or two, less than is worth a line."""
    (programs,) = warm.glob("*.npz")
    whole = programs.read_bytes()
    programs.write_bytes(DAMAGES[damage](whole))

    assert said_before_the_gradient(lab) == []
    assert len(programs.read_bytes()) == len(whole)


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["numba/*/*.nbc", "numba/*/*.nbi", "kernels.json"])
def test_damaged_kernels_are_compiled_anew(lab: Lab, warm: Path, pattern: str, damage: str) -> None:
    """Unnoticed, they would end the process with a signal, or the training with wrong numbers."""
    file = max(warm.glob(pattern), key=lambda path: path.stat().st_size)  # that of the replay
    file.write_bytes(DAMAGES[damage](file.read_bytes()))

    compiling, compiled = said_before_the_gradient(lab)

    assert compiling.startswith(COMPILING)
    assert compiled.startswith("compiled in ")
    assert said_before_the_gradient(lab) == []


# ---- a disk that cannot be used ------------------------------------------------------------------


def test_to_compile_for_a_directory_that_cannot_be_is_one_line_and_exit_code_1(lab: Lab) -> None:
    process = lab.run("compile", GRADFLOCK_CACHE_DIR=str(lab.data / "cache"))

    assert process.exit_code() == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("gradflock: expected to read and write files, got Not a directory — ")
    assert str(lab.data) in line


@pytest.mark.long
def test_without_a_directory_for_kernels_a_process_compiles_for_itself(lab: Lab) -> None:
    directory = str(lab.data / "cache")

    (line,) = said_before_the_gradient(lab, GRADFLOCK_CACHE_DIR=directory)

    assert line == (
        f"expected to keep kernels in {directory}, got Not a directory"
        " — compiling for this process alone; set GRADFLOCK_CACHE_DIR"
    )


FILE_BYTES_MAX = {"programs": 10**6, "kernels": 10**5, "programs and kernels": 10**5}


@pytest.mark.long
@pytest.mark.parametrize("too_large", FILE_BYTES_MAX)
def test_a_disk_that_is_full_costs_what_is_kept_and_nothing_else(
    lab: Lab, warm: Path, too_large: str
) -> None:
    """Whichever file is the first that does not fit, this process has its gradient."""
    (programs,) = warm.glob("*.npz")
    kernels = max(warm.glob("numba/*/*.nbc"), key=lambda path: path.stat().st_size)
    assert programs.stat().st_size > 10**6 > kernels.stat().st_size > 10**5
    (warm / "kernels.json").unlink()
    if too_large != "kernels":
        programs.unlink()

    said = said_before_the_gradient(lab, FILE_BYTES_MAX[too_large])

    assert said[0].startswith(COMPILING)
    assert "got File too large — compiling for this process alone" in said[-1]
    compiling, _ = said_before_the_gradient(lab)
    assert compiling.startswith(COMPILING), "what was left is not whole"
    assert json.loads((warm / "kernels.json").read_text())
