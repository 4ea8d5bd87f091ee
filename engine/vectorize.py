"""Vectorizing: from single nodes to instructions over blocks of rows.

A node's level is 1 + the highest level of its operands, so nodes of one level do not need each
other: those of the same operation become one instruction. Dots of consecutive parameters with
vectors that they share become a matmul; all of a document's positions, and matrices that lie side
by side, join in one. Nothing here knows of a transformer; the result reads like one.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby

from engine.graph import Graph, Node
from engine.ops import BINARY, UNARY
from engine.program import AnyInstruction, Instruction, Matmul, Program

Vector = tuple[int, ...]  # nodes


def vectorize(graph: Graph, num_params: int) -> Program:
    """Give the program that computes a fused graph."""
    return _Vectorizer(graph, num_params).program()


class _Vectorizer:
    """The instructions so far, and in which row each node has ended up."""

    def __init__(self, graph: Graph, num_params: int) -> None:
        self._graph = graph
        self._num_params = num_params
        self._weights = _find_weights(graph)
        self._row: dict[int, int] = {}  # node -> row
        self._rows = 0
        self._instructions: list[AnyInstruction] = []

    def program(self) -> Program:
        levels = _levels(self._graph)
        by_level = sorted(range(len(levels)), key=levels.__getitem__)  # stable
        self._spread()
        for _, nodes in groupby(by_level, key=levels.__getitem__):
            for group in self._groups(list(nodes)):
                group.sort()
                if self._is_matmul(group[0]):
                    self._matmuls(group)
                else:
                    self._instruction(group)
        terms = tuple(self._row[term] for term in self._graph.terms)
        return Program(tuple(self._instructions), terms, self._rows, self._num_params)

    def _groups(self, nodes: Sequence[int]) -> list[list[int]]:
        """Sort the nodes of a level into those that one instruction can compute."""
        groups: dict[tuple[str, float, bool], list[int]] = {}
        for place in nodes:
            op, _, constant = self._graph.nodes[place]
            if op == "param":
                continue
            kind = "lookup" if self._is_lookup(place) else op
            key = (kind, 0.0 if op == "pick" else constant, self._is_matmul(place))
            groups.setdefault(key, []).append(place)
        return list(groups.values())

    def _is_param(self, place: int) -> bool:
        return self._graph.nodes[place].op == "param"

    def _is_lookup(self, place: int) -> bool:
        node = self._graph.nodes[place]
        return node.op == "pick" and all(map(self._is_param, node.operands))

    def _is_matmul(self, place: int) -> bool:
        return place in self._weights

    # ---- emitting -------------------------------------------------------------------------------

    def _place(self, nodes: Sequence[int]) -> int:
        """Give rows to nodes, in order; the first of them is returned."""
        first = self._rows
        for row, node in enumerate(nodes, start=first):
            self._row[node] = row
        self._rows += len(nodes)
        return first

    def _spread(self) -> None:
        """Put the parameters that are operands of anything but matmuls and lookups into rows."""
        wanted: dict[int, None] = {}
        for place, node in enumerate(self._graph.nodes):
            if not self._is_matmul(place) and not self._is_lookup(place):
                wanted.update(dict.fromkeys(filter(self._is_param, node.operands)))
        wanted.update(dict.fromkeys(filter(self._is_param, self._graph.terms)))
        if wanted:
            nodes = sorted(wanted, key=lambda place: self._graph.nodes[place].constant)
            numbers = tuple(int(self._graph.nodes[place].constant) for place in nodes)
            first = self._place(nodes)
            self._instructions.append(Instruction("spread", first, len(nodes), (numbers,)))

    def _instruction(self, group: Sequence[int]) -> None:
        nodes = [self._graph.nodes[place] for place in group]
        op = "lookup" if self._is_lookup(group[0]) else nodes[0].op
        operands, bounds = self._operands(op, nodes)
        tokens = tuple(int(node.constant) for node in nodes) if op in ("lookup", "pick") else ()
        constant = 0.0 if tokens else float(nodes[0].constant)
        first = self._place(group)
        self._instructions.append(
            Instruction(op, first, len(group), operands, bounds, constant, tokens)
        )

    def _operands(self, op: str, nodes: Sequence[Node]) -> tuple[tuple[Vector, ...], Vector]:
        """Give the rows (or parameters, of a lookup) of each operand, and the bounds."""
        lists = [node.operands for node in nodes]
        if op in UNARY or op in BINARY or op == "const":
            columns = zip(*lists, strict=True)
            return tuple(tuple(self._row[operand] for operand in rows) for rows in columns), ()
        parts = 2 if op == "dot" else 1
        arities = [len(operands) // parts for operands in lists]
        flat = tuple(
            tuple(
                int(self._graph.nodes[operand].constant) if op == "lookup" else self._row[operand]
                for operands, arity in zip(lists, arities, strict=True)
                for operand in operands[part * arity : (part + 1) * arity]
            )
            for part in range(parts)
        )
        return flat, (0, *accumulate(arities))

    def _matmuls(self, group: Sequence[int]) -> None:
        """Emit dots of parameters with vectors: one matmul for all vectors that meet the same
        matrix."""
        by_vector: dict[Vector, dict[int, int]] = {}
        twins: dict[int, int] = {}  # a * b and b * a are one
        for place in group:
            weights, vector = self._weights[place]
            twins[place] = by_vector.setdefault(vector, {}).setdefault(weights, place)
        matrices: dict[tuple[int, int, int], list[tuple[Vector, list[int]]]] = {}
        for vector, dots in by_vector.items():
            for start, run in _runs(dots, len(vector)):
                matrices.setdefault((start, len(run), len(vector)), []).append((vector, run))
        for (first_param, rows, columns), met in matrices.items():
            vectors = [[self._row[operand] for operand in vector] for vector, _ in met]
            x, x_vector, x_column = self._strided(vectors)
            first = self._place([place for _, places in met for place in places])
            self._instructions.append(
                Matmul(first, len(met), rows, columns, first_param, x, x_vector, x_column)
            )
        self._row.update({place: self._row[twin] for place, twin in twins.items()})

    def _strided(self, vectors: Sequence[Sequence[int]]) -> tuple[int, int, int]:
        """Give the first row and the steps from vector to vector and from scalar to scalar; where
        there is no such regularity, or vectors overlap, so that a row would have several gradients
        at once, copy them into new rows."""
        x = vectors[0][0]
        x_vector = vectors[1][0] - x if len(vectors) > 1 else 0
        x_column = vectors[0][1] - x if len(vectors[0]) > 1 else 0
        regular = all(
            row == x + j * x_vector + k * x_column
            for j, vector in enumerate(vectors)
            for k, row in enumerate(vector)
        )
        rows = tuple(row for vector in vectors for row in vector)
        if regular and len(set(rows)) == len(rows):
            return x, x_vector, x_column
        copy = Instruction("scale", self._rows, len(rows), (rows,), constant=1.0)
        self._rows += len(rows)
        self._instructions.append(copy)
        return copy.first, len(vectors[0]), 1


def _find_weights(graph: Graph) -> dict[int, tuple[int, Vector]]:
    """Find the dots of consecutive parameters with something else; give for each the number of its
    first parameter, and the vector it meets."""
    numbers = [int(node.constant) if node.op == "param" else None for node in graph.nodes]
    found = {}
    for place, (op, operands, _) in enumerate(graph.nodes):
        if op != "dot":
            continue
        half = len(operands) // 2
        for left, right in ((operands[:half], operands[half:]), (operands[half:], operands[:half])):
            first = numbers[left[0]]
            if first is None or any(numbers[operand] is not None for operand in right):
                continue
            if [numbers[operand] for operand in left] == list(range(first, first + half)):
                found[place] = (first, right)
    return found


def _levels(graph: Graph) -> list[int]:
    levels: list[int] = []
    for node in graph.nodes:
        levels.append(1 + max((levels[operand] for operand in node.operands), default=-1))
    return levels


def _runs(dots: Mapping[int, int], columns: int) -> Iterator[tuple[int, list[int]]]:
    """Cut dots, by the number of their first parameter, into runs whose parameters adjoin."""
    starts = sorted(dots)
    while starts:
        length = 1
        while length < len(starts) and starts[length] == starts[0] + length * columns:
            length += 1
        yield starts[0], [dots[start] for start in starts[:length]]
        starts = starts[length:]
