"""The machine and what is installed on it, as far as training depends on them.

Nothing is changed and nobody is asked: all of this is read from the process, /proc and the cgroup.
"""

import ctypes
import os
import platform
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import numpy as np

from cli.finding import Section, bytes_text
from cli.roles import THREADS
from cli.version import VERSION
from wire.security import libzmq

PACKAGES = (
    *("pyzmq", "msgpack", "numpy", "numba", "llvmlite", "click", "rich", "safetensors"),
    *("starlette", "uvicorn", "h11", "prometheus-client"),
)
OPTIONAL = {"matplotlib": "plot", "tensorboardX": "tensorboard"}
PORTS = {  # those of the defaults, and who has them
    5555: "coordinator --bind",
    5556: "--sampler-bind",
    8000: "--http",
    8090: "dashboard",
}
MEMORY_MIN_BYTES = 256 * 2**20  # to compile kernels takes 224 MB, a process with them 157
NO_LIMIT_BYTES = 2**60  # cgroup v1 has no other word for none
LISTENS = "0A"  # in /proc/net/tcp
BLAS_THREADS = (
    *("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_"),
    "openblas_get_num_threads",
)


def examine_versions() -> Section:
    """Look at what is installed."""
    section = Section("versions")
    zmq_version, has_curve = libzmq()
    section.facts["gradflock"] = VERSION
    section.facts["Python"] = f"{platform.python_version()} ({platform.python_implementation()})"
    section.facts["libzmq"] = f"{zmq_version}, {'with' if has_curve else 'without'} CURVE"
    missing = []
    for package in PACKAGES:
        version = _version_of(package)
        section.facts[package] = version or "missing"
        missing += [] if version else [package]
    for package, extra in OPTIONAL.items():
        version = _version_of(package)
        section.facts[package] = version or f"not installed (optional: gradflock[{extra}])"
    if missing:
        section.find("wrong", f"{', '.join(missing)} missing; pip install gradflock once more")
    else:
        section.find("ok", "all packages are there")
    if has_curve:
        section.find("ok", "libzmq has CURVE: keys can be used")
    else:
        section.find("warning", "libzmq has no CURVE: keys cannot be used; pip install pyzmq")
    return section


def examine_machine() -> Section:
    """Look at processor, memory and threads."""
    section = Section("machine")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, limit_bytes = cgroup_limits(Path("/sys/fs/cgroup"), _text(Path("/proc/self/cgroup")))
    physical_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    section.facts["platform"] = platform.platform()
    section.facts["processor"] = _processor()
    section.facts["cores"] = f"{cores} of {os.cpu_count()} usable"
    section.facts["CPU quota"] = "none" if quota is None else f"{quota:g} cores"
    section.facts["memory"] = bytes_text(physical_bytes)
    section.facts["memory limit"] = "none" if limit_bytes is None else bytes_text(limit_bytes)
    section.facts["BLAS"] = _blas()
    for name in THREADS:
        section.facts[name] = os.environ.get(name, "not set")
    if quota is not None and quota < 1:
        text = f"a CPU quota of {quota:g} cores: steps stall now and then; give it one or more"
        section.find("warning", text)
    memory_bytes = min(physical_bytes, limit_bytes or physical_bytes)
    if memory_bytes < MEMORY_MIN_BYTES:
        has = f"{bytes_text(memory_bytes)} of memory"
        section.find("warning", f"{has}: compiling kernels may not fit; give it 256 MiB or more")
    if not section.findings:
        section.find("ok", f"{cores} cores, {bytes_text(memory_bytes)} of memory")
    return section


def examine_environment() -> Section:
    """Look at the variables that set flags; what may be a secret is not shown."""
    section = Section("environment")
    for name in sorted(name for name in os.environ if name.startswith("GRADFLOCK_")):
        section.facts[name] = "set" if "KEY" in name else os.environ[name]
    return section


def examine_ports(ports: Sequence[int] = tuple(PORTS)) -> Section:
    """Look at whether the ports of the defaults are free."""
    section = Section("ports")
    listening = _listening()
    for port in ports:
        flag = PORTS.get(port, "")
        is_taken = _is_refused(port) if listening is None else port in listening
        owner = _owner(listening.get(port, "")) if listening else ""
        section.facts[str(port)] = f"{'taken' + owner if is_taken else 'free'}, {flag}".rstrip(", ")
        if is_taken:
            text = f"port {port} is taken{owner}; unless that is this run, give another {flag}"
            section.find("warning", text.rstrip())
    if not section.findings:
        section.find("ok", "the ports of the defaults are free")
    return section


def cgroup_limits(root: Path, membership: str) -> tuple[float | None, int | None]:
    """Give how many cores and bytes of memory the control groups of a process allow.

    Args:
        root: where they are mounted.
        membership: what /proc/self/cgroup says; a group's limit is also that of those in it.

    Source: the kernel's cgroup-v2.rst (cpu.max, memory.max), and cgroup-v1 (cfs_quota, limit).
    """
    cores: list[float] = []
    limits_bytes: list[int] = []
    for directory in _groups(root, membership):
        quota, period = (*_text(directory / "cpu.max").split(), "", "")[:2]
        quota = quota or _text(directory / "cpu.cfs_quota_us")
        period = period or _text(directory / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            cores.append(int(quota) / int(period))
        limit = _text(directory / "memory.max") or _text(directory / "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) < NO_LIMIT_BYTES:
            limits_bytes.append(int(limit))
    return min(cores, default=None), min(limits_bytes, default=None)


def _groups(root: Path, membership: str) -> Iterator[Path]:
    for line in membership.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "", "")[:3]
        parts = [part for part in path.split("/") if part]
        for name in controllers.split(",") if controllers else [""]:
            for length in range(len(parts), -1, -1):
                yield root.joinpath(name, *parts[:length])


# ---- ports --------------------------------------------------------------------------------------


def _listening() -> dict[int, str] | None:
    """Give the inode of who listens, by port; None where the system has no /proc."""
    found = {}
    is_known = False
    for name in ("tcp", "tcp6"):
        lines = _text(Path("/proc/net") / name).splitlines()
        is_known = is_known or bool(lines)
        for columns in (line.split() for line in lines[1:]):
            if len(columns) > 9 and columns[3] == LISTENS:
                found[int(columns[1].rpartition(":")[2], 16)] = columns[9]
    return found if is_known else None


def _owner(inode: str) -> str:
    """Say which process has a socket, without its arguments: they may hold secrets."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        return f" by {_text(process / 'comm')} (process {process.name})"
    return ""


def _is_refused(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


# ---- what there is ------------------------------------------------------------------------------


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _blas() -> str:
    """Name numpy's BLAS, and its threads where it can be asked."""
    built = np.__config__.CONFIG.get("Build Dependencies", {}).get("blas", {})
    named = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    for path in re.findall(r"/\S*openblas\S*", _text(Path("/proc/self/maps")))[:1]:
        library = ctypes.CDLL(path)
        for name in BLAS_THREADS:
            if hasattr(library, name):
                return f"{named}, {getattr(library, name)()} threads in this process"
    return named


def _text(path: Path) -> str:
    """Give what a file of the system says, or nothing."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
