"""Tracing: run a function on numbers that only remember what was done with them.

A Tracer has the operators of a number. Where `Value` computes, it writes a node down: the same
`model.py`, run on Tracers, leaves the Graph of its scalar operations. What a trace must not do is
look at a number, because the next document has others; so the operations of `Arithmetic` that look
(which row, which element, which is the largest) are nodes too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.config import ModelConfig
from engine.graph import Graph, Node
from engine.model import position_losses
from engine.params import as_matrices, layout_of
from engine.scalar import Arithmetic


class Tracer:
    """A place in a growing list of nodes."""

    __slots__ = ("nodes", "place")

    def __init__(self, nodes: list[Node], op: str, operands: tuple[int, ...], constant: float = 0):
        self.nodes = nodes
        self.place = len(nodes)
        nodes.append(Node(op, operands, constant))

    def _with(self, op: str, other: "Tracer | float") -> "Tracer":
        if not isinstance(other, Tracer):
            other = Tracer(self.nodes, "const", (), other)
        return Tracer(self.nodes, op, (self.place, other.place))

    def __add__(self, other: "Tracer | float") -> "Tracer":
        return self._with("add", other)

    def __mul__(self, other: "Tracer | float") -> "Tracer":
        return self._with("mul", other)

    def __pow__(self, exponent: float) -> "Tracer":
        return Tracer(self.nodes, "pow", (self.place,), exponent)

    def log(self) -> "Tracer":
        return Tracer(self.nodes, "log", (self.place,))

    def exp(self) -> "Tracer":
        return Tracer(self.nodes, "exp", (self.place,))

    def relu(self) -> "Tracer":
        return Tracer(self.nodes, "relu", (self.place,))

    # ---- in terms of those, as Value does ---------------------------------------------------

    def __neg__(self) -> "Tracer":
        return self * -1

    def __sub__(self, other: "Tracer | float") -> "Tracer":
        return self + (-other)

    def __truediv__(self, other: "Tracer | float") -> "Tracer":
        return self * other**-1

    def __radd__(self, other: float) -> "Tracer":
        return self + other

    def __rmul__(self, other: float) -> "Tracer":
        return self * other

    def __rsub__(self, other: float) -> "Tracer":
        return (-self) + other

    def __rtruediv__(self, other: float) -> "Tracer":
        return self**-1 * other


def _largest(values: Sequence[Tracer]) -> Tracer:
    return Tracer(values[0].nodes, "max", tuple(value.place for value in values))


def _pick(values: Sequence[Tracer], token: int) -> Tracer:
    return Tracer(values[0].nodes, "pick", tuple(value.place for value in values), token)


def _row(matrix: Sequence[Sequence[Tracer]], token: int) -> list[Tracer]:
    return [_pick(column, token) for column in zip(*matrix, strict=True)]


# A token is its place in the document here: what stands there is known at replay.
TRACERS = Arithmetic(
    exp=Tracer.exp,
    log=Tracer.log,
    relu=Tracer.relu,
    largest=_largest,
    row=_row,
    pick=_pick,
)


def trace(function: Callable[[list[Tracer]], Sequence[Tracer]], num_params: int) -> Graph:
    """Write down what a function of parameters does.

    Args:
        function: takes the parameters and gives one or more terms; may use TRACERS.
    """
    nodes: list[Node] = []
    params = [Tracer(nodes, "param", (), i) for i in range(num_params)]
    terms = [
        term if isinstance(term, Tracer) else Tracer(nodes, "const", (), term)
        for term in function(params)
    ]
    return Graph(tuple(nodes), tuple(term.place for term in terms))


def trace_document(model: ModelConfig, positions: int) -> Graph:
    """Write down the loss of each position of a document."""
    layout = layout_of(model)

    def losses(params: list[Any]) -> Sequence[Tracer]:
        return position_losses(TRACERS, model, as_matrices(layout, params), range(positions + 1))

    return trace(losses, model.num_params)
