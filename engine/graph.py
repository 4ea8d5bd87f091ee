"""Graph: a scalar computation as a value: immutable, verified, printable.

The form that the passes of the compiler hand on. A graph has no numbers in it, only what is to be
done with them: it is traced once and replayed with other parameters and other documents.

Node kinds:

    param i             the i-th parameter
    const c             a plain number
    UNARY, BINARY       one or two operands (see engine.ops)
    sum x1 .. xn        from left to right
    dot a1 .. an b1 .. bn   a1 * b1 + ... + an * bn, from left to right
    max x1 .. xn        without gradient
    pick x0 .. xn by s  the operand that token s of the document names

Prior art: the jaxprs of JAX's autodidax, typechecked before they are used.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import starmap
from operator import add
from typing import NamedTuple

from engine.errors import GraphError
from engine.ops import BINARY, UNARY, larger

LEAVES = ("param", "const")
REDUCTIONS = ("sum", "dot", "max", "pick")


class Node(NamedTuple):
    """One scalar; `operands` are places in the graph, `constant` belongs to the operation."""

    op: str
    operands: tuple[int, ...] = ()
    constant: float = 0  # a parameter's or token's number is an int


@dataclass(frozen=True, slots=True)
class Graph:
    """Scalars in an order in which each comes after its operands.

    Attributes:
        terms: the places of the results: a document's loss at each position. What is
            differentiated is their weighted sum.
    """

    nodes: tuple[Node, ...]
    terms: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.nodes)

    def counts(self) -> Mapping[str, int]:
        """Give the number of nodes of each operation, the most frequent first."""
        return dict(Counter(node.op for node in self.nodes).most_common())

    def __str__(self) -> str:
        lines = []
        for place, (op, operands, constant) in enumerate(self.nodes):
            words = [f"%{operand}" for operand in operands]
            if op in LEAVES or op in ("scale", "shift", "pow", "pick"):
                words.append(f"{constant!r}")
            lines.append(f"%{place} = {op} {' '.join(words)}")
        lines.append("terms " + " ".join(f"%{term}" for term in self.terms))
        return "\n".join(lines)


def verify(graph: Graph) -> None:
    """Make sure that a graph is one.

    Raises:
        GraphError: it is not; the message names the node.
    """
    for place, (op, operands, constant) in enumerate(graph.nodes):
        where = f"node %{place}, {op}"
        if not _has_arity(op, len(operands)):
            raise GraphError(f"expected the operands of {op}, got {len(operands)} — {where}")
        if any(not 0 <= operand < place for operand in operands):
            raise GraphError(f"expected operands before the node, got {operands} — {where}")
        if op in ("param", "pick") and (type(constant) is not int or constant < 0):
            raise GraphError(f"expected a number from 0, got {constant!r} — {where}")
    if not graph.terms or any(not 0 <= term < len(graph) for term in graph.terms):
        raise GraphError(f"expected terms in the graph, got {graph.terms} of {len(graph)} nodes")


def _has_arity(op: str, count: int) -> bool:
    if op in LEAVES:
        return count == 0
    if op in UNARY:
        return count == 1
    if op in BINARY:
        return count == 2
    return op in REDUCTIONS and count > 0 and (op != "dot" or count % 2 == 0)


def prune(graph: Graph, num_terms: int) -> Graph:
    """Keep what the first `num_terms` terms are computed from."""
    terms = graph.terms[:num_terms]
    needed = bytearray(len(graph))
    for term in terms:
        needed[term] = True
    for place in range(len(graph) - 1, -1, -1):
        if needed[place]:
            for operand in graph.nodes[place].operands:
                needed[operand] = True
    moved = [0] * len(graph)
    nodes: list[Node] = []
    for place, node in enumerate(graph.nodes):
        if needed[place]:
            moved[place] = len(nodes)
            operands = tuple([moved[operand] for operand in node.operands])
            nodes.append(Node(node.op, operands, node.constant))
    return Graph(tuple(nodes), tuple(moved[term] for term in terms))


def evaluate(graph: Graph, params: Sequence[float], tokens: Sequence[int]) -> list[float]:
    """Compute the terms on plain floats, one node at a time."""
    values: list[float] = []
    for op, operands, constant in graph.nodes:
        given = [values[operand] for operand in operands]
        values.append(_value(op, given, constant, params, tokens))
    return [values[term] for term in graph.terms]


def _value(
    op: str,
    given: Sequence[float],
    constant: float,
    params: Sequence[float],
    tokens: Sequence[int],
) -> float:
    if op in UNARY:
        return float(UNARY[op].forward(given[0], constant))
    if op in BINARY:
        return float(BINARY[op].forward(*given))
    match op:
        case "param":
            return params[int(constant)]
        case "const":
            return constant
        case "sum":
            return reduce(add, given)
        case "max":
            return float(reduce(larger, given))
        case "pick":
            return given[tokens[int(constant)]]
    half = len(given) // 2
    return reduce(add, starmap(float.__mul__, zip(given[:half], given[half:], strict=True)))
