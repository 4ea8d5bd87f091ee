"""A user's own function, compiled and replayed as the compiled engine does it with the model."""

from collections.abc import Sequence

import numpy as np

from engine.compiled import Replayer
from engine.encode import encode
from engine.fuse import fuse
from engine.graph import Graph, prune
from engine.graph import verify as verify_graph
from engine.program import verify as verify_program
from engine.vectorize import vectorize
from tests.engine.functions import VOCAB_SIZE


def replayer_of(graph: Graph, num_params: int) -> Replayer:
    """Compile a traced function with one term for each position, for every number of positions."""
    verify_graph(graph)
    fused = fuse(graph)
    verify_graph(fused)
    programs = []
    for positions in range(1, len(graph.terms) + 1):
        programs.append(vectorize(prune(fused, positions), num_params))
        verify_program(programs[-1])
    return Replayer(encode(programs), len(graph.terms), num_params, VOCAB_SIZE)


def replayed(
    replayer: Replayer, params: Sequence[float], documents: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """Give the documents' losses and the sum of their gradients."""
    grad = np.zeros(len(params))
    losses = replayer.replay(np.array(params), documents, grad, is_backward=True)
    return losses, grad.tolist()
