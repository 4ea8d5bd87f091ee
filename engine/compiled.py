"""The compiled engine: a document's scalar graph, traced once, replayed for eight at a time.

    model.py on Tracers   --trace-->       Graph of scalar operations
                          --fuse-->        sums of products become dots
                          --vectorize-->   Program of instructions over rows
                          --encode-->      numbers, which engine.kernels replays

A shard is cut into blocks of eight documents, each replayed at the length of its longest one. What
is beyond the end of a shorter one counts with weight 0, exactly. So a shard's bits depend on its
documents and on nothing else.
"""

from array import array
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig, TrainConfig
from engine.encode import Library, encode
from engine.fuse import fuse
from engine.gradient import GradientSum
from engine.graph import prune
from engine.kernels import replay
from engine.lanes import WIDTH
from engine.optimizer import Moments
from engine.packed import PackedDocuments
from engine.params import Flat
from engine.program import Program, verify
from engine.shards import Tokens
from engine.trace import trace_document
from engine.vector import adam_update, plus
from engine.vectorize import vectorize

FINE_LENGTHS = 16  # up to here every length has a program; then one for each eighth of an octave


def program_lengths(block_size: int) -> list[int]:
    """Give the numbers of positions to compile for: a block is padded to the next."""
    lengths = list(range(1, min(block_size, FINE_LENGTHS) + 1))
    while lengths[-1] < block_size:
        step = 2 ** (lengths[-1].bit_length() - 4)
        lengths.append(min(lengths[-1] + step, block_size))
    return lengths


def compile_model(model: ModelConfig) -> Library:
    """Compile the programs of a model, one for each length of a document."""
    return encode(compile_programs(model))


def compile_programs(model: ModelConfig) -> list[Program]:
    """Trace the longest document; shorter ones need less of the same graph."""
    graph = fuse(trace_document(model, model.block_size))
    programs = [
        vectorize(prune(graph, positions), model.num_params)
        for positions in program_lengths(model.block_size)
    ]
    for program in programs:
        verify(program)  # the kernels check nothing
    return programs


class Compiled:
    """An `engine.gradient.Engine` that replays programs; not for two threads at once."""

    def __init__(
        self, model: ModelConfig, compile: Callable[[ModelConfig], Library] = compile_model
    ) -> None:
        """Make an engine; it compiles before the first gradient or loss.

        Args:
            compile: gives the programs, possibly from where they have been kept.
        """
        self._model = model
        self._compile = compile
        self._replayer: Replayer | None = None

    def portions(self, documents: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        return [documents]

    def probe_lengths(self) -> Sequence[int]:
        return range(1, self._model.block_size + 1)

    def gradient(self, params: Flat, documents: Sequence[Tokens]) -> GradientSum:
        grad = array("d", bytes(8 * len(params)))
        losses = self._replay(params, documents, np.frombuffer(grad), is_backward=True)
        total = 0.0
        for loss in losses:
            total += loss
        return GradientSum(total, grad)

    def losses(self, params: Flat, documents: Sequence[Tokens]) -> list[float]:
        return self._replay(params, documents, np.empty(0), is_backward=False)

    def plus(self, a: GradientSum, b: GradientSum) -> GradientSum:
        return plus(a, b)

    def update(
        self, config: TrainConfig, step: int, params: Flat, moments: Moments, grad: Flat
    ) -> tuple[Flat, Moments]:
        return adam_update(config, step, params, moments, grad)

    def _replay(
        self,
        params: Flat,
        documents: Sequence[Tokens],
        grad: NDArray[np.float64],
        is_backward: bool,
    ) -> list[float]:
        if self._replayer is None:
            model = self._model
            library = self._compile(model)
            self._replayer = Replayer(library, model.block_size, model.num_params, model.vocab_size)
        return self._replayer.replay(np.frombuffer(params), documents, grad, is_backward)


class Replayer:
    """A library with the memory that its programs compute in."""

    def __init__(self, library: Library, block_size: int, num_params: int, vocab_size: int) -> None:
        """Make the memory.

        Args:
            block_size: terms of the largest program; what a document of as many positions needs.
            vocab_size: how many candidates each pick and lookup has.
        """
        self._library = library
        self._num_params = num_params
        self._vocab_size = vocab_size
        lengths = program_lengths(block_size)
        self._program_of = np.searchsorted(lengths, np.arange(block_size + 1))
        self._tokens = rows_of_lanes(block_size + 1)
        self._weights = rows_of_lanes(block_size)
        self._losses = rows_of_lanes(1)  # of a shard, in blocks
        self._values = rows_of_lanes(library.rows)
        self._grads = rows_of_lanes(library.rows)

    def replay(
        self,
        params: NDArray[np.float64],
        documents: Sequence[Tokens],
        grad: NDArray[np.float64],
        is_backward: bool,
    ) -> list[float]:
        """Give the documents' losses; add the sum of their gradients to `grad`, (num_params,)."""
        library, packed = self._library, PackedDocuments.of(documents)
        # The kernels check nothing.
        assert len(params) == self._num_params
        assert not is_backward or len(grad) == len(params)
        assert packed.shortest >= 2 or not documents, "a document has a position"
        assert packed.longest <= len(self._tokens)
        assert packed.largest < self._vocab_size
        blocks = -(-len(documents) // WIDTH)
        if blocks > len(self._losses):
            self._losses = rows_of_lanes(blocks)
        losses = self._losses[:blocks]
        replay(
            library.spans, library.code, library.constants, library.places, self._program_of,
            params, packed.tokens, packed.bounds, self._tokens, self._weights, self._values,
            self._grads, grad, losses, is_backward,
        )  # fmt: skip
        given: list[float] = losses.reshape(-1)[: len(documents)].tolist()
        return given


def rows_of_lanes(count: int) -> NDArray[np.float64]:
    """Make rows of zeros, (count, WIDTH), each on a cache line of its own."""
    raw = np.zeros((count + 1) * WIDTH)
    skipped = -raw.ctypes.data // raw.itemsize % WIDTH
    return raw[skipped : skipped + count * WIDTH].reshape(count, WIDTH)
