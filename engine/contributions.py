"""Where a parameter's gradient comes from: the eager graph of one document, with labels.

`value.py` keeps for each node what the chain rule needs and nothing more. To show a reader what a
node is, this module runs the same model on LabelledValue, a Value that also remembers its operation
and where in the forward pass it was made. The arithmetic is Value's own, so every bit is eager's.

A parameter's gradient is a sum: `backward` adds local_grad * node.grad for each node that uses the
parameter, in the reverse of depth-first order. Those terms are its contributions. Following the
largest one from node to node leads to the loss.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.config import ModelConfig
from engine.model import document_loss
from engine.params import Flat, as_matrices, layout_of
from engine.scalar import VALUES, Vector
from engine.shards import Tokens
from engine.value import Value, depth_first

PARAM, CONST = "param", "const"  # the two kinds of leaf, named as `engine.graph` does


@dataclass(slots=True)
class Place:
    """How far the forward pass has come: the current position, and the matrix it read last."""

    position: int | None = None
    matrix: str = ""


class LabelledValue(Value):
    """A Value that remembers what it is and where it was made.

    Attributes:
        op: `param`, or the operation that made it.
        detail: a parameter's name; a power's exponent.
        position: whose forward pass made it; None for a leaf and for the mean over positions.
        matrix: the parameter matrix that the model had read last.
        place: where the forward pass is now, shared by all nodes.
    """

    __slots__ = ("detail", "matrix", "op", "place", "position")

    def __init__(self, made: Value, op: str, place: Place, detail: str = "") -> None:
        super().__init__(made.data, made.children, made.local_grads)
        self.op = op
        self.detail = detail
        self.position = place.position
        self.matrix = place.matrix
        self.place = place

    def __add__(self, other: Value | float) -> "LabelledValue":
        return LabelledValue(super().__add__(other), "add", self.place)

    def __mul__(self, other: Value | float) -> "LabelledValue":
        return LabelledValue(super().__mul__(other), "mul", self.place)

    def __pow__(self, exponent: float) -> "LabelledValue":
        return LabelledValue(super().__pow__(exponent), "pow", self.place, f"{exponent:g}")

    def log(self) -> "LabelledValue":
        return LabelledValue(super().log(), "log", self.place)

    def exp(self) -> "LabelledValue":
        return LabelledValue(super().exp(), "exp", self.place)

    def relu(self) -> "LabelledValue":
        return LabelledValue(super().relu(), "relu", self.place)


@dataclass(frozen=True, slots=True)
class Node:
    """What a reader is told of one node; the attributes are LabelledValue's."""

    op: str
    detail: str
    position: int | None
    matrix: str
    data: float
    grad: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one node that uses a number adds to the number's gradient.

    Attributes:
        value: local_grad * node.grad.
        share: its part of the magnitudes of all contributions to that gradient, 0 to 1.
        local_grad: d(node)/d(number).
        node: the node that uses the number.
        others: the node's other operands.
    """

    value: float
    share: float
    local_grad: float
    node: Node
    others: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class PathStep:
    """One node on the way from a parameter to the loss, and where its gradient comes from.

    Attributes:
        contributions: in the order in which backward adds them; added up from 0.0 they are the
            node's gradient, bit for bit. Empty for the loss, and for a parameter that the
            document does not use.
    """

    node: Node
    contributions: tuple[Contribution, ...]

    @property
    def largest(self) -> Contribution:
        return max(self.contributions, key=lambda contribution: abs(contribution.value))


class DocumentGraph:
    """The eager graph of one document, after backward.

    Attributes:
        loss: of the document, in nats.
        grad: of every parameter, (num_params,); the bits are those of `document_gradient`.
        probabilities: of each position's target.
        losses: of each position, in nats; the loss is their mean.
    """

    def __init__(self, config: ModelConfig, params: Sequence[float], tokens: Tokens) -> None:
        """Build the graph and walk it back.

        Raises:
            ValueError, ArithmeticError: the numbers leave the floats (OUT_OF_FLOATS).
        """
        picked: list[LabelledValue] = []
        self._leaves = _labelled_leaves(config, params, Place())
        root = _labelled_loss(config, self._leaves, tokens, picked)
        root.backward()
        self._order = depth_first(root)
        self._users = _users_of(self._order)
        self.loss = root.data
        self.grad: Flat = array("d", (leaf.grad for leaf in self._leaves))
        self.probabilities = [probability.data for probability in picked]
        self.losses = [-math.log(probability) for probability in self.probabilities]

    def counts(self) -> Mapping[str, int]:
        """Count the nodes by operation, the most frequent first."""
        return dict(Counter(_node(value).op for value in self._order).most_common())

    def path_from(self, index: int) -> tuple[PathStep, ...]:
        """Follow the largest contributions from the parameter at a flat index to the loss."""
        value: Value = self._leaves[index]
        path = [self._step(value)]
        while contributions := path[-1].contributions:
            user, _ = self._users[value][contributions.index(path[-1].largest)]
            path.append(self._step(user))
            value = user
        return tuple(path)

    def _step(self, value: Value) -> PathStep:
        users = self._users.get(value, [])
        values = [user.local_grads[operand] * user.grad for user, operand in users]
        magnitude = 0.0
        for contribution in values:
            magnitude += abs(contribution)
        contributions = (
            Contribution(
                value=contribution,
                share=abs(contribution) / magnitude if magnitude else 0.0,
                local_grad=user.local_grads[operand],
                node=_node(user),
                others=tuple(_node(o) for i, o in enumerate(user.children) if i != operand),
            )
            for (user, operand), contribution in zip(users, values, strict=True)
        )
        return PathStep(_node(value), tuple(contributions))


class _WatchedMatrices(dict[str, Sequence[Vector]]):
    """The parameter matrices; which one was read last is noted."""

    def __init__(self, matrices: Mapping[str, Sequence[Vector]], place: Place) -> None:
        super().__init__(matrices)
        self._place = place

    def __getitem__(self, name: str) -> Sequence[Vector]:
        self._place.matrix = name
        return super().__getitem__(name)


def _labelled_leaves(
    config: ModelConfig, params: Sequence[float], place: Place
) -> list[LabelledValue]:
    assert len(params) == config.num_params
    names = (
        f"{matrix.name}[{row}][{column}]"
        for matrix in layout_of(config)
        for row in range(matrix.rows)
        for column in range(matrix.columns)
    )
    return [
        LabelledValue(Value(param), PARAM, place, name)
        for param, name in zip(params, names, strict=True)
    ]


def _labelled_loss(
    config: ModelConfig,
    leaves: Sequence[LabelledValue],
    tokens: Tokens,
    picked: list[LabelledValue],
) -> LabelledValue:
    """Run the model; each target's probability joins `picked`."""
    place = leaves[0].place

    def row(matrix: Sequence[Vector], token: int) -> Vector:
        place.position = 0 if place.position is None else place.position + 1
        return matrix[token]

    def pick(vector: Vector, token: int) -> LabelledValue:
        picked.append(vector[token])
        return picked[-1]

    arithmetic = replace(
        VALUES,
        exp=LabelledValue.exp,
        log=LabelledValue.log,
        relu=LabelledValue.relu,
        row=row,
        pick=pick,
    )
    matrices = _WatchedMatrices(as_matrices(layout_of(config), leaves), place)
    loss: LabelledValue = document_loss(arithmetic, config, matrices, tokens)
    _label_mean(loss)
    return loss


def _label_mean(loss: LabelledValue) -> None:
    """Take the mean over positions, additions and then a factor, from the last position."""
    node: Value = loss
    while isinstance(node, LabelledValue) and (node is loss or node.op == "add"):
        node.position, node.matrix = None, ""
        node = node.children[0]


def _users_of(order: Sequence[Value]) -> dict[Value, list[tuple[Value, int]]]:
    """Give for each value the nodes that use it and as which operand, in backward's order."""
    users: dict[Value, list[tuple[Value, int]]] = {}
    for node in reversed(order):
        for operand, child in enumerate(node.children):
            users.setdefault(child, []).append((node, operand))
    return users


def _node(value: Value) -> Node:
    if not isinstance(value, LabelledValue):  # a plain number that an operator met
        return Node(CONST, "", None, "", value.data, value.grad)
    return Node(value.op, value.detail, value.position, value.matrix, value.data, value.grad)
