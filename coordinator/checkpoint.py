"""A checkpoint and its bytes: everything that a run needs to go on, or to be sampled.

One safetensors file: parameters under microgpt's tensor names, Adam's means under `adam.m.*` and
`adam.v.*`, and one metadata key with canonical JSON. `coordinator.store` keeps such files on disk.

Source: the safetensors format, https://github.com/huggingface/safetensors#format
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from coordinator.errors import CheckpointCorrupt
from engine.config import ModelConfig, TrainConfig, canonical_json
from engine.errors import EngineError
from engine.optimizer import Moments
from engine.params import Flat, layout_of, to_bytes, weights_sha256
from engine.shards import Cursor

FORMAT = 1
METADATA = "gradflock"
WEIGHTS = ""  # prefixes of the tensor names: the parameters have none
GROUPS = (WEIGHTS, "adam.m.", "adam.v.")

Tensors: TypeAlias = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """Which documents a run trains on: `names`, `bundled` or a path; how many; their sha256."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after `step` updates.

    Attributes:
        loss: of the last update, nats; None at step 0.
        characters: the vocabulary without BOS, in the order of its ids.
        rng_state: of the run's generator, where sampling goes on.
        contributors: worker -> the first step, counted from 0, that its answer was counted in.
        has_exact_numerics: every worker had the coordinator's own arithmetic.
        cursor: where the next step's documents begin; None in checkpoints older than that field.
        fingerprint: of the coordinator's own arithmetic; empty where it was not known yet.
    """

    run: str
    step: int
    loss: float | None
    model: ModelConfig
    train: TrainConfig
    dataset: DatasetRecord
    characters: str
    rng_state: tuple[Any, ...]
    params: Flat
    moments: Moments
    contributors: Mapping[str, int] = field(default_factory=dict)
    has_exact_numerics: bool = True
    cursor: Cursor | None = None
    fingerprint: str = ""

    @property
    def weights_sha256(self) -> str:
        return weights_sha256(to_bytes(self.params))


def serialise(checkpoint: Checkpoint) -> bytes:
    """Give the file; `contributors` are not in it, for they are no part of what was computed."""
    vectors = (checkpoint.params, checkpoint.moments.m, checkpoint.moments.v)
    tensors: Tensors = {}
    for group, vector in zip(GROUPS, vectors, strict=True):
        tensors |= _tensors(checkpoint.model, group, vector)
    facts = {
        "format": FORMAT,
        "run": checkpoint.run,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "model": asdict(checkpoint.model),
        "train": asdict(checkpoint.train),
        "dataset": asdict(checkpoint.dataset),
        "characters": checkpoint.characters,
        "rng_state": checkpoint.rng_state,
        "has_exact_numerics": checkpoint.has_exact_numerics,
        "cursor": None if checkpoint.cursor is None else asdict(checkpoint.cursor),
        "fingerprint": checkpoint.fingerprint,
    }
    return _file(tensors, facts)


def parse(data: bytes) -> Checkpoint:
    """Read what `serialise` wrote.

    Raises:
        CheckpointCorrupt: it did not.
    """
    try:
        facts = _facts(data)
        if facts["format"] != FORMAT:
            raise CheckpointCorrupt(
                f"expected checkpoint format {FORMAT}, got {facts['format']!r};"
                " use a newer gradflock"
            )
        model, train = ModelConfig(**facts["model"]), TrainConfig(**facts["train"])
        params, m, v = _vectors(model, safetensors.numpy.load(data))
        version, internal, gauss = facts["rng_state"]
        cursor = facts.get("cursor")
        return Checkpoint(
            run=facts["run"],
            step=facts["step"],
            loss=facts["loss"],
            model=model,
            train=train,
            dataset=DatasetRecord(**facts["dataset"]),
            characters=facts["characters"],
            rng_state=(version, tuple(internal), gauss),
            params=params,
            moments=Moments(m, v),
            has_exact_numerics=facts.get("has_exact_numerics", True),
            cursor=None if cursor is None else Cursor(**cursor),
            fingerprint=facts.get("fingerprint", ""),
        )
    except EngineError as error:
        raise CheckpointCorrupt(str(error)) from None
    except _NOT_OURS as error:
        raise CheckpointCorrupt(
            f"expected a checkpoint, got {type(error).__name__}: {error}"
        ) from None


def weights(checkpoint: Checkpoint) -> Tensors:
    """Give the parameters alone, each matrix under microgpt's name for it."""
    return _tensors(checkpoint.model, WEIGHTS, checkpoint.params)


def weights_file(checkpoint: Checkpoint, facts: Mapping[str, Any]) -> bytes:
    """Give the parameters alone as a safetensors file, with such metadata."""
    return _file(weights(checkpoint), facts)


_NOT_OURS = (
    *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
    safetensors.SafetensorError,
)


def _file(tensors: Tensors, facts: Mapping[str, Any]) -> bytes:
    # One key: the writer orders several at random, and a file's bytes should not be chance.
    return safetensors.numpy.save(tensors, metadata={METADATA: canonical_json(facts)})


def _facts(data: bytes) -> dict[str, Any]:
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    facts: dict[str, Any] = json.loads(header["__metadata__"][METADATA])
    return facts


def _tensors(model: ModelConfig, group: str, vector: Flat) -> Tensors:
    flat = np.frombuffer(to_bytes(vector), dtype="<f8")
    tensors = {}
    for matrix in layout_of(model):
        end = matrix.offset + matrix.rows * matrix.columns
        rows = flat[matrix.offset : end].reshape(matrix.rows, matrix.columns)
        tensors[group + matrix.name] = rows
    return tensors


def _vectors(model: ModelConfig, tensors: Tensors) -> Sequence[Flat]:
    expected = {group + matrix.name for group in GROUPS for matrix in layout_of(model)}
    if strange := sorted(expected ^ tensors.keys()):
        raise CheckpointCorrupt(f"expected the tensors of its model, got others: {strange[0]}")
    vectors = []
    for group in GROUPS:
        flat = array("d")
        for matrix in layout_of(model):
            rows = tensors[group + matrix.name]
            if rows.shape != (matrix.rows, matrix.columns) or rows.dtype != np.float64:
                raise CheckpointCorrupt(
                    f"expected float64 ({matrix.rows}, {matrix.columns}), got {rows.dtype}"
                    f" {rows.shape} — tensor {group + matrix.name}"
                )
            flat.frombytes(rows.tobytes())
        if not all(map(math.isfinite, flat)):
            raise CheckpointCorrupt(f"expected finite values, got others — tensors {group}*")
        vectors.append(flat)
    return vectors
