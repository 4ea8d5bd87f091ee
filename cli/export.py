"""A checkpoint's weights for other programs: plain JSON, or a directory that PyTorch loads.

What is exported appears whole, under a name that nothing had, or not at all. Every number is a
float64 and reads back bit for bit.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from cli.errors import UsageError
from coordinator.checkpoint import Checkpoint, weights_file
from coordinator.errors import CheckpointUnwritable
from coordinator.files import TEMPORARY, sync_directory, write_durably
from engine.params import as_matrices, layout_of

TENSORS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.json"
CONTENTS = "contents"  # the name of a file before it has its own


def export(kind: str, checkpoint: Checkpoint, destination: Path) -> str:
    """Write a checkpoint's weights in one of FORMATS, and give the Python that loads them.

    Raises:
        UsageError: the destination is taken, or there is no directory to put it into.
        CheckpointUnwritable: the disk refuses.
    """
    if os.path.lexists(destination):
        raise UsageError(
            f"expected a destination that does not exist, got one that does — {destination};"
            " nothing is overwritten: give another name, or remove it"
        )
    if not destination.parent.is_dir():
        raise UsageError(
            f"expected a directory to write to, got none — {destination.parent}; make it first"
        )
    try:
        return FORMATS[kind](checkpoint, destination)
    except OSError as error:
        raise CheckpointUnwritable(
            f"expected to write what is exported, got {error.strerror or error} — {destination};"
            " make room, or give another destination"
        ) from None


def _to_json(checkpoint: Checkpoint, destination: Path) -> str:
    """Write one file; its matrices are in the order that `weights_sha256` is of."""
    matrices = as_matrices(layout_of(checkpoint.model), checkpoint.params)
    values = {
        "model": asdict(checkpoint.model),
        "characters": checkpoint.characters,
        "step": checkpoint.step,
        "weights_sha256": checkpoint.weights_sha256,
        "weights": {name: [list(row) for row in rows] for name, rows in matrices.items()},
    }
    _write_file(destination, _json(values))
    return (
        "import json, pathlib\n"
        f"exported = json.loads(pathlib.Path({str(destination)!r}).read_text())\n"
        'print(exported["characters"], exported["weights"]["wte"][0])\n'
    )


def _to_torch(checkpoint: Checkpoint, destination: Path) -> str:
    """Write a directory; its tensors are the parameters, under microgpt's names."""
    about = {
        "run": checkpoint.run,
        "step": checkpoint.step,
        "weights_sha256": checkpoint.weights_sha256,
    }
    vocabulary = {"characters": checkpoint.characters, "bos": len(checkpoint.characters)}
    files = {
        TENSORS: weights_file(checkpoint, about),
        CONFIG: _json(asdict(checkpoint.model)),
        VOCABULARY: _json(vocabulary),
    }
    _write_directory(destination, files)
    return (
        "from safetensors.torch import load_file\n"
        f"weights = load_file({str(destination / TENSORS)!r})\n"
        "print({name: tuple(tensor.shape) for name, tensor in weights.items()})\n"
    )


FORMATS: Mapping[str, Callable[[Checkpoint, Path], str]] = {"json": _to_json, "torch": _to_torch}


def _json(values: object) -> bytes:
    """Give JSON as people and programs read it: ASCII, so that no locale can spoil it."""
    return (json.dumps(values, allow_nan=False) + "\n").encode()


def _write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a whole directory, or nothing.

    Raises:
        OSError: the disk refuses, or the name has been taken meanwhile.
    """
    with _beside(path) as unfinished:
        for name, data in files.items():
            write_durably(unfinished / name, data)
        unfinished.rename(path)


def _write_file(path: Path, data: bytes) -> None:
    """Make a whole file, or nothing.

    Raises:
        OSError: the disk refuses.
    """
    with _beside(path) as unfinished:
        write_durably(unfinished / CONTENTS, data)
        (unfinished / CONTENTS).rename(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a directory for whoever exports alone, under a name that nothing had, for a while."""
    unfinished = Path(tempfile.mkdtemp(TEMPORARY, ".gradflock-", path.parent))
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # it may have got its name already
    sync_directory(path.parent)
