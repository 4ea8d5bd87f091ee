"""What gradflock keeps on this machine: data, kernels, keys, a run; whether all of it is whole.

Everything is read, nothing is changed, and no lock is taken: a run may go on meanwhile.
"""

import os
import re
import shutil
from pathlib import Path

from cli.dataset import NAMES_SHA256, cache_directory, look_at_cached_names
from cli.errors import MetricsUnreadable
from cli.finding import Level, Section, bytes_text
from cli.holder import holder_of
from cli.kernels import Kept, look_at_kept, make_engine
from cli.metrics_lines import read_run
from cli.view import say
from coordinator.errors import RunDirectoryError
from coordinator.run_directory import RunDirectory
from engine.config import ModelConfig
from engine.fingerprint import fingerprint
from wire.errors import KeysError
from wire.keyring import SERVER, Keyring, read_client_key
from wire.security import libzmq

DEFAULT_MODEL = ModelConfig(vocab_size=27)  # 26 letters and the end of a name
FREE_WARNING_BYTES, FREE_WRONG_BYTES = 200 * 2**20, 5 * 2**20  # a checkpoint has some 100 kB


def examine_data() -> Section:
    """Look at the list of names that was fetched."""
    section = Section("data")
    path, is_right = look_at_cached_names()
    section.facts["names"] = f"{path}: {_word(is_right)}"
    if is_right is None:
        section.find("ok", "the list of names was not fetched yet; --data names does so")
    elif is_right:
        section.find("ok", "the list of names is right")
    else:
        section.find(
            "wrong",
            f"expected sha256 {NAMES_SHA256[:12]}..., got another — {path}; remove it: the next"
            " --data names fetches it, and without a network trains on the bundled list",
        )
    return section


def examine_kernels(*, may_compile: bool) -> Section:
    """Look at the kernels on disk, and compute the fingerprint if they are ready.

    Args:
        may_compile: also if they are not, which keeps them on disk.
    """
    section = Section("kernels")
    kept = look_at_kept(DEFAULT_MODEL)
    sizes = {
        path: path.stat().st_size for path in kept.directory.parent.rglob("*") if path.is_file()
    }
    ours = [size for path, size in sizes.items() if path.is_relative_to(kept.directory)]
    section.facts["place"] = str(kept.directory)
    section.facts["state"] = "warm" if kept.is_warm else "cold"
    section.facts["size"] = bytes_text(sum(ours))
    section.facts["other versions"] = bytes_text(sum(sizes.values()) - sum(ours))
    _judge_kernels(section, kept)
    if may_compile or (kept.is_warm and _is_writable(kept.directory)):
        engine = make_engine("compiled", DEFAULT_MODEL, say)
        section.facts["fingerprint"] = fingerprint(engine, DEFAULT_MODEL)
    else:
        section.facts["fingerprint"] = "not computed: --fingerprint compiles what it needs"
    return section


def _judge_kernels(section: Section, kept: Kept) -> None:
    if not _is_writable(kept.directory):
        section.find(
            "warning",
            f"cannot keep kernels in {cache_directory()}: each process compiles for itself, in ten"
            " seconds; make it writable, or set GRADFLOCK_CACHE_DIR",
        )
    elif kept.is_warm:
        section.find("ok", "kernels are compiled")
    elif kept.has_manifest and not kept.is_whole:
        text = "kernels on disk are damaged: the next run compiles them anew; or gradflock compile"
        section.find("warning", text)
    elif kept.is_shipped:
        section.find("ok", "the image brings kernels: the next run takes them")
    else:
        text = "kernels are not compiled yet: the first run takes ten seconds more"
        section.find("ok", text + "; gradflock compile does it now")


def examine_keys(path: Path) -> Section:
    """Look at a directory of keys; none of them is shown."""
    section = Section("keys")
    section.facts["place"] = str(path)
    keyring = Keyring(path)
    try:
        listed = keyring.known()
        revoked = [key for key in listed if key.is_revoked]
        section.facts["allowed"] = str(len(listed) - len(revoked))
        section.facts["revoked"] = str(len(revoked))
        for complaint in keyring.complaints:
            section.find("warning", f"{_without_content(complaint)}; remove it, or make a new key")
        keyring.server_key()
        section.facts["server key"] = "right"
    except KeysError as error:
        section.facts.setdefault("server key", "cannot be used")
        section.find("wrong", str(error))
    except OSError as error:
        section.find("wrong", f"expected to read keys, got {error.strerror} — {path}")
    for file in sorted(path.glob("*.key")):
        if file.stem != SERVER:
            try:
                read_client_key(file)
            except KeysError as error:
                section.find("wrong", str(error))
    if not libzmq()[1]:
        section.find("wrong", "libzmq has no CURVE: keys cannot be used; pip install pyzmq")
    if not section.findings:
        section.find("ok", "keys can be used, and only by their owner")
    return section


def examine_run(path: Path) -> Section:
    """Look at a run's directory."""
    section = Section("run")
    section.facts["place"] = str(path)
    if not path.is_dir():
        section.find("wrong", f"expected the directory of a run, got none — {path}")
        return section
    free_bytes = shutil.disk_usage(path).free
    section.facts["free space"] = bytes_text(free_bytes)
    _judge_holder(section, path)
    _judge_checkpoints(section, RunDirectory(path))
    try:
        lines, complaint = read_run(path)
        section.facts["metrics"] = f"up to step {lines[-1].step:,}"
    except MetricsUnreadable as error:
        complaint = str(error)
    if complaint:
        section.find("warning", complaint)
    if free_bytes < FREE_WARNING_BYTES:
        level: Level = "wrong" if free_bytes < FREE_WRONG_BYTES else "warning"
        section.find(level, f"{bytes_text(free_bytes)} left for checkpoints — {path}; make room")
    if not _is_writable(path):
        section.find("warning", f"cannot be written to by this user — {path}; chown it to train on")
    return section


def _judge_holder(section: Section, path: Path) -> None:
    holder = holder_of(path)
    if holder is None:
        section.facts["held by"] = "nobody"
        return
    doubt = "" if holder.is_certain else ", if that still runs"
    section.facts["held by"] = f"process {holder.process} on {holder.host}{doubt}"


def _judge_checkpoints(section: Section, directory: RunDirectory) -> None:
    try:
        newest, complaints = directory.checkpoints.newest()
        mark = directory.last_unrevoked()
    except (OSError, RunDirectoryError) as error:
        section.find("wrong", f"expected to read checkpoints, got {error} — {directory.path}")
        return
    for complaint in complaints:
        section.find("warning", f"a checkpoint is not valid: {complaint}")
    if mark is not None:
        text = f"checkpoints after step {mark} are being removed; the next start ends that"
        section.find("warning", text)
    if newest is not None:
        section.facts["newest checkpoint"] = f"step {newest.step:,}"
        section.find("ok", f"the checkpoint of step {newest.step:,} is valid")
    elif complaints:
        section.facts["newest checkpoint"] = "none is valid"
        section.find("wrong", "no checkpoint is valid: this run cannot be resumed; begin another")
    else:
        section.facts["newest checkpoint"] = "none"
        section.find("warning", "no checkpoint yet; one comes with the run's first save")


# ---- files --------------------------------------------------------------------------------------


def _word(is_right: bool | None) -> str:
    return "not there" if is_right is None else "right" if is_right else "damaged"


def _is_writable(path: Path) -> bool:
    """Say whether this user could write there, or make it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _without_content(complaint: str) -> str:
    """Take what a file holds out of a complaint: it may be a secret in the wrong place."""
    return re.sub(r"""got (['"]).*\1 — """, "got something else — ", complaint, flags=re.DOTALL)
