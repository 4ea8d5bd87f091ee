"""The parameters: named matrices over one flat vector of float64.

The flat order is microgpt's: wte, wpe, lm_head, then the matrices of each layer, row by row.
Gradients, Adam's moments, frames on the wire and checkpoints all use it.
"""

import hashlib
import random
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from engine.config import ModelConfig

INIT_STD = 0.08  # standard deviation of a fresh parameter

S = TypeVar("S")

Flat: TypeAlias = "array[float]"  # (num_params,) float64: parameters, a gradient, a moment


@dataclass(frozen=True, slots=True)
class Matrix:
    """Where one named matrix lies in the flat vector."""

    name: str
    rows: int
    columns: int
    offset: int


def layout_of(config: ModelConfig) -> tuple[Matrix, ...]:
    """Lay the matrices of a model out, in flat order."""
    width = config.n_embd
    shapes = [
        ("wte", config.vocab_size, width),
        ("wpe", config.block_size, width),
        ("lm_head", config.vocab_size, width),
    ]
    for layer in range(config.n_layer):
        shapes += [(f"layer{layer}.attn_{name}", width, width) for name in ("wq", "wk", "wv", "wo")]
        shapes += [
            (f"layer{layer}.mlp_fc1", 4 * width, width),
            (f"layer{layer}.mlp_fc2", width, 4 * width),
        ]
    layout = []
    offset = 0
    for name, rows, columns in shapes:
        layout.append(Matrix(name, rows, columns, offset))
        offset += rows * columns
    assert offset == config.num_params
    return tuple(layout)


def as_matrices(layout: Sequence[Matrix], flat: Sequence[S]) -> dict[str, list[Sequence[S]]]:
    """View a flat vector as its matrices: name -> rows -> scalars."""
    return {
        matrix.name: [
            flat[start : start + matrix.columns]
            for start in range(
                matrix.offset, matrix.offset + matrix.rows * matrix.columns, matrix.columns
            )
        ]
        for matrix in layout
    }


def initialise(config: ModelConfig, rng: random.Random) -> Flat:
    """Draw fresh parameters, (num_params,), in flat order from the run's generator."""
    return array("d", (rng.gauss(0, INIT_STD) for _ in range(config.num_params)))


def to_bytes(vector: Flat) -> bytes:
    """Give a vector as little-endian float64 bytes, as it travels and as it is stored."""
    if sys.byteorder == "big":
        vector = array("d", vector)
        vector.byteswap()
    return vector.tobytes()


def from_bytes(data: bytes) -> Flat:
    """Read what `to_bytes` wrote; the length must be a multiple of 8."""
    vector = array("d")
    vector.frombytes(data)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def weights_sha256(data: bytes) -> str:
    """Name a parameter vector by the sha256 of its bytes (as a finished run says it)."""
    return hashlib.sha256(data).hexdigest()
