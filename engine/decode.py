"""Next-token logits of many documents side by side, one position at a time, with a KV cache.

The forward pass of `engine.model` once more, over tiles of LANES documents in numpy. Documents come
and go independently: lane by lane they may stand at different positions, and a lane is free for
another document as soon as one has ended.

A document's numbers do not depend on who is beside it. Matrix products have one shape, (rows, k)
times (k, LANES), once for each tile, whoever sits in it; what is summed over positions is added
from the first to the last, so that positions beyond a document's end add exact zeros. Last bits
differ from `engine.model`, whose sums have another order.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.model import NORM_EPSILON
from engine.params import Flat, layout_of

LANES = 16  # of one tile: two cache lines of float64, and a width that BLAS has whole kernels for

Array: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of one layer."""

    qkv: Array  # (3 * n_embd, n_embd): wq, scaled for attention's scores, then wk and wv
    wo: Array  # (n_embd, n_embd)
    fc1: Array  # (4 * n_embd, n_embd)
    fc2: Array  # (n_embd, 4 * n_embd)


class Weights:
    """A model's parameters as a Decoder multiplies with them; many may share one."""

    def __init__(self, config: ModelConfig, params: Flat) -> None:
        flat = np.array(params)
        found = {
            matrix.name: flat[matrix.offset :][: matrix.rows * matrix.columns].reshape(
                matrix.rows, matrix.columns
            )
            for matrix in layout_of(config)
        }
        self.config = config
        self.wte = found["wte"]  # (vocab_size, n_embd)
        self.wpe = found["wpe"]  # (block_size, n_embd)
        self.lm_head = found["lm_head"]  # (vocab_size, n_embd)
        self.layers = []
        for index in range(config.n_layer):
            wq, wk, wv, wo = (
                found[f"layer{index}.attn_{name}"] for name in ("wq", "wk", "wv", "wo")
            )
            qkv = np.concatenate([wq * config.head_dim**-0.5, wk, wv])
            fc1, fc2 = (found[f"layer{index}.mlp_{name}"] for name in ("fc1", "fc2"))
            self.layers.append(Layer(qkv, wo, fc1, fc2))


class Decoder:
    """Keys and values of so many tiles of documents, and the step to their next positions."""

    def __init__(self, weights: Weights, tiles: int) -> None:
        config = weights.config
        self._weights = weights
        shape = (config.n_layer, tiles, config.block_size, config.n_embd, LANES)
        self._keys, self._values = np.zeros(shape), np.zeros(shape)
        self._tile = np.arange(tiles)[:, None]
        self._lane = np.arange(LANES)[None, :]
        self._ones = np.ones((1, config.n_embd))

    def advance(self, tokens: Ids, positions: Ids) -> Array:
        """Let every document of the first tiles take in its next token.

        Args:
            tokens: (tiles, LANES); those of empty lanes may be any.
            positions: (tiles, LANES), where each token stands: 0, 1, 2, ... in a document.

        Returns:
            Logits of what follows, (tiles, vocab_size, LANES).
        """
        weights = self._weights
        # What overflows becomes infinity and NaN: whoever draws from it notices.
        with np.errstate(all="ignore"):
            x = (weights.wte[tokens] + weights.wpe[positions]).transpose(0, 2, 1)
            x = self._norm(x)
            for index, layer in enumerate(weights.layers):
                x = layer.wo @ self._attention(index, layer, self._norm(x), positions) + x
                x = self._mlp(layer, self._norm(x)) + x
            logits: Array = weights.lm_head @ x
        return logits

    def _norm(self, x: Array) -> Array:
        width = self._weights.config.n_embd
        if self._weights.config.norm == "layer":
            x = x - self._ones @ x / width
        return x / np.sqrt(self._ones @ (x * x) / width + NORM_EPSILON)

    def _mlp(self, layer: Layer, x: Array) -> Array:
        hidden = np.maximum(layer.fc1 @ x, 0)
        if self._weights.config.activation == "relu2":
            hidden = hidden * hidden
        return layer.fc2 @ hidden

    def _attention(self, index: int, layer: Layer, x: Array, positions: Ids) -> Array:
        config = self._weights.config
        tiles, width = len(x), config.n_embd
        query, key, value = np.split(layer.qkv @ x, 3, axis=1)
        tile, keys, values = self._tile[:tiles], self._keys[index], self._values[index]
        keys[tile, positions, :, self._lane] = key.transpose(0, 2, 1)
        values[tile, positions, :, self._lane] = value.transpose(0, 2, 1)

        seen = int(positions.max()) + 1
        heads = (tiles, seen, config.n_head, config.head_dim, LANES)
        products = (keys[:tiles, :seen] * query[:, None]).reshape(heads)
        scores = products[:, :, :, 0].copy()  # (tiles, seen, n_head, LANES)
        for i in range(1, config.head_dim):
            scores += products[:, :, :, i]
        is_ahead = np.arange(seen)[None, :, None] > positions[:, None]
        scores += np.where(is_ahead, -np.inf, 0.0)[:, :, None]
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores, out=scores)

        weighted = values[:tiles, :seen].reshape(heads) * shares[:, :, :, None]
        total, out = shares[:, 0].copy(), weighted[:, 0].copy()
        for position in range(1, seen):
            total += shares[:, position]
            out += weighted[:, position]
        mixed: Array = (out / total[:, :, None]).reshape(tiles, width, LANES)
        return mixed
