"""Where PyTorch is, and one measurement of `benchmarks/ddp_peer.py` with it.

PyTorch may belong to another interpreter than ours, and the ranks need processes of their own
anyway: whoever compares with them never imports it.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.machine import ONE_THREAD

PROJECT = Path(__file__).resolve().parent.parent
BESIDE = PROJECT / ".venv-torch" / "bin" / "python"  # what make test-torch has made
WAIT_S = 300.0  # for one measurement


@dataclass(frozen=True, slots=True)
class Measured:
    """What the peer said of itself; steps/s is by the median step."""

    processes: int
    batch: int
    is_tuned: bool
    steps: int
    steps_per_s: float
    documents_per_s: float
    grad_difference: float  # from ours, at most, in the first step


@dataclass(frozen=True, slots=True)
class Torch:
    """An interpreter that has PyTorch, and which; or neither, and why not."""

    python: str = ""
    version: str = ""
    problem: str = ""


def find_torch(said: Path | None) -> Torch:
    """Look for PyTorch.

    Args:
        said: the interpreter that was asked for; None for ours, or the one beside the project.
    """
    if said is None:
        said = Path(sys.executable) if find_spec("torch") is not None else BESIDE
        if not said.exists():
            return Torch(problem="it is not installed; name an interpreter: --torch-python")
    try:
        looked = subprocess.run(
            [said, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True
        )
    except OSError as error:
        return Torch(problem=f"{said} cannot be started: {error.strerror}")
    if looked.returncode:
        return Torch(problem=f"{said} has none: {_last_line(looked.stderr)}")
    return Torch(str(said), looked.stdout.strip())


def run_peer(python: str, module: str, flags: list[str]) -> str:
    """Run a module of ours that needs PyTorch, and give the last line it printed.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        [python, "-m", module, *flags],
        env=os.environ | ONE_THREAD | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    # Once it has said what it measured, how it ends is nothing to us: gloo may abort when the other
    # rank is gone first.
    if done.returncode and not done.stdout.strip():
        raise SystemExit(f"expected a measurement by {module}, got: {_last_line(done.stderr)}")
    return _last_line(done.stdout)


def measure_ddp(
    python: str, data: str, processes: int, batch: int, is_tuned: bool, steps: int
) -> Measured:
    """Train a while with DistributedDataParallel."""
    flags = [f"--data={data}", f"--processes={processes}", f"--batch={batch}", f"--steps={steps}"]
    if is_tuned:
        flags.append("--tuned")
    return Measured(**json.loads(run_peer(python, "benchmarks.ddp_peer", flags)))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing"
