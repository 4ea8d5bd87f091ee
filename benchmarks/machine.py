"""One core, one thread, and what machine it is."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

# Read by the libraries when they are loaded, so they must stand before the process begins.
ONE_THREAD = {
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
LIBRARIES = ("numpy", "numba", "torch")


def stay_on_one_core() -> str:
    """Pin this process and its children to one core and their libraries to one thread.

    The process begins anew if it was started with another environment.

    Returns:
        What was done, for the reader of the numbers.
    """
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ONE_THREAD)
    if not hasattr(os, "sched_setaffinity"):
        return "one thread, not pinned"
    core = max(os.sched_getaffinity(0))  # the first one serves most interrupts
    os.sched_setaffinity(0, {core})
    return f"one thread, pinned to core {core}"


def machine_facts() -> dict[str, str]:
    """Say on what the numbers were measured."""
    facts = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return facts | {library: _version(library) for library in LIBRARIES}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
