"""Value: a number that remembers how it was made. START READING HERE.

Every arithmetic operation on Values makes a new Value that keeps its operands (`children`) and,
for each of them, the local derivative of the result (`local_grads`). The loss of a document is
the last Value of such a graph; `loss.backward()` walks the graph from the loss to its leaves and
applies the chain rule at each node. That is all of backpropagation.

This is the readable reference. Every faster path in gradflock is compared with it, bit for bit or
to a stated tolerance, so the order of each float operation here is part of the contract.

Prior art: Karpathy, micrograd (2020) and microgpt (2026).
"""

import math
from collections.abc import Sequence


class Value:
    """One node of a scalar computation graph.

    Attributes:
        data: the number.
        grad: d(root)/d(this node) after `root.backward()`, 0.0 before.
        children: the operands this node was computed from; empty for a leaf.
        local_grads: d(this node)/d(child), one for each child.
    """

    __slots__ = ("children", "data", "grad", "local_grads")

    def __init__(
        self,
        data: float,
        children: "tuple[Value, ...]" = (),
        local_grads: tuple[float, ...] = (),
    ) -> None:
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    def __repr__(self) -> str:
        return f"Value(data={self.data!r}, grad={self.grad!r})"

    # ---- operations: the value, and its derivative by each operand --------------------------

    def __add__(self, other: "Value | float") -> "Value":
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other: "Value | float") -> "Value":
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> "Value":
        slope = exponent * self.data ** (exponent - 1)
        return Value(self.data**exponent, (self,), (slope,))

    def log(self) -> "Value":
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self) -> "Value":
        result = math.exp(self.data)
        return Value(result, (self,), (result,))

    def relu(self) -> "Value":
        return Value(max(0, self.data), (self,), (1.0 if self.data > 0 else 0.0,))

    # ---- the rest is written in terms of those ----------------------------------------------

    def __neg__(self) -> "Value":
        return self * -1

    def __sub__(self, other: "Value | float") -> "Value":
        return self + (-other)

    def __truediv__(self, other: "Value | float") -> "Value":
        return self * other**-1

    def __radd__(self, other: float) -> "Value":
        return self + other

    def __rmul__(self, other: float) -> "Value":
        return self * other

    def __rsub__(self, other: float) -> "Value":
        return (-self) + other

    def __rtruediv__(self, other: float) -> "Value":
        return self**-1 * other

    # ---- the chain rule ---------------------------------------------------------------------

    def backward(self) -> None:
        """Leave d(self)/d(node) in the `grad` of every node that self was computed from.

        Once for a graph: inner nodes keep their gradients, and would pass them on again.
        """
        self.grad = 1.0
        for node in reversed(depth_first(self)):
            grad = node.grad
            for child, local_grad in zip(node.children, node.local_grads, strict=True):
                child.grad += local_grad * grad


def depth_first(root: Value) -> Sequence[Value]:
    """List the graph below `root` so that every node comes after its children.

    The order is that of the recursive definition (visit the children from left to right, then
    list the node), because gradients are added up in it. The stack is explicit: a document's
    graph is thousands of nodes deep. `None` marks that the node under it has had its children.
    """
    order: list[Value] = []
    visited: set[Value] = set()
    stack: list[Value | None] = [root]
    while stack:
        node = stack.pop()
        if node is None:
            done = stack.pop()
            assert done is not None
            order.append(done)
        elif node not in visited:
            visited.add(node)
            stack += (node, None)
            stack += reversed(node.children)
    return order
