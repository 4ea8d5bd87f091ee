"""Random scalar functions of parameters and a document: strategies of hypothesis.

A Function is a list of steps, each of which adds scalars to a pool that begins with the parameters.
It is written once, for any Arithmetic, like the model: on Values it is the eager truth, on Tracers
it becomes a graph. Every scalar carries the range in which it lies, so that no step leaves the
domain of its operation and none loses all of its digits.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import hypothesis.strategies as st

from engine.graph import Graph
from engine.scalar import VALUES, Arithmetic, Scalar, Vector
from engine.trace import TRACERS, trace
from engine.value import Value, depth_first

VOCAB_SIZE = 3  # candidates of a pick
PARAM_RANGE = (-1.5, 1.5)
SMALLEST, LARGEST = 0.25, 40.0  # of a divisor, a base, a logarithm's operand; of any scalar
EXPONENTS = (-1, -0.5, 0.5, 2, 3, 1.5)
CONSTANTS = (-1, 0.5, 2, 0.0, 3.25)

Range = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """One operation on scalars of the pool; `constant` may be a place in the document."""

    op: str
    operands: tuple[int, ...]
    constant: float = 0


@dataclass(frozen=True)
class Function:
    """A function of `num_params` parameters with one term for each position of a document."""

    num_params: int
    steps: tuple[Step, ...]
    terms: tuple[int, ...]

    def __call__(
        self, arithmetic: Arithmetic, params: Sequence[Scalar], tokens: Sequence[Any]
    ) -> list[Scalar]:
        pool = list(params)
        for step in self.steps:
            given = [pool[operand] for operand in step.operands]
            constant = tokens[int(step.constant)] if step.op in BY_TOKEN else step.constant
            pool += OPERATIONS[step.op].compute(arithmetic, given, constant)
        return [pool[term] for term in self.terms]

    def traced(self) -> Graph:
        tokens = range(len(self.terms) + 1)
        return trace(lambda params: self(TRACERS, params, tokens), self.num_params)


# ---- operations: what each computes, and the ranges of that -----------------------------------


class Operation(NamedTuple):
    compute: Callable[[Arithmetic, Vector, Any], list[Scalar]]
    ranges: Callable[[Sequence[Range], float], list[Range]]


def _corners(function: Callable[..., float]) -> Callable[[Sequence[Range], float], list[Range]]:
    """Give the range of a function that is monotone in each operand."""

    def ranges(given: Sequence[Range], constant: float) -> list[Range]:
        ends = [function(*corner, constant) for corner in product(*given)]
        return [(min(ends), max(ends))]

    return ranges


def _pow_range(given: Sequence[Range], exponent: float) -> list[Range]:
    ((low, high),) = given
    ends = [low**exponent, high**exponent]
    return [(0.0 if exponent == 2 and low < 0 < high else min(ends), max(ends))]


def _added(ranges: Sequence[Range]) -> Range:
    low, high = 0.0, 0.0
    for one in ranges:
        low, high = low + one[0], high + one[1]
    return low, high


def _product(a: Range, b: Range) -> Range:
    ends = [x * y for x, y in product(a, b)]
    return min(ends), max(ends)


def _halves(items: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    return items[: len(items) // 2], items[len(items) // 2 :]


def _products(given: Sequence[Any], times: Callable[[Any, Any], Any]) -> list[Any]:
    return [times(a, b) for a, b in zip(*_halves(given), strict=True)]


def _union(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _total(terms: Vector, start: Scalar = 0) -> Scalar:
    for term in terms:
        start = start + term
    return start


def _softmax(arithmetic: Arithmetic, given: Vector, _: float) -> list[Scalar]:
    shift = arithmetic.largest(given)
    exponentials = [arithmetic.exp(x - shift) for x in given]
    total = _total(exponentials)
    return [x / total for x in exponentials]


def _shifted_ranges(given: Sequence[Range], _: float) -> list[Range]:
    largest = max(high for _, high in given)
    return [
        (low - largest, min(high - low, 0.0) if len(given) == 1 else 0.0) for low, high in given
    ]


def _row(arithmetic: Arithmetic, given: Vector, token: Any) -> list[Scalar]:
    columns = len(given) // VOCAB_SIZE
    matrix = [given[i * columns : (i + 1) * columns] for i in range(VOCAB_SIZE)]
    return list(arithmetic.row(matrix, token))


def _row_ranges(given: Sequence[Range], _: float) -> list[Range]:
    columns = len(given) // VOCAB_SIZE
    return [_union(given[column::columns]) for column in range(columns)]


def _times(x: Any, y: Any) -> Any:
    return x * y


OPERATIONS: Mapping[str, Operation] = {
    "add": Operation(lambda _, g, c: [g[0] + g[1]], _corners(lambda a, b, c: a + b)),
    "sub": Operation(lambda _, g, c: [g[0] - g[1]], _corners(lambda a, b, c: a - b)),
    "mul": Operation(lambda _, g, c: [g[0] * g[1]], _corners(lambda a, b, c: a * b)),
    "div": Operation(lambda _, g, c: [g[1] / g[0]], _corners(lambda a, b, c: b / a)),
    "neg": Operation(lambda _, g, c: [-g[0]], _corners(lambda a, c: -a)),
    "scale": Operation(lambda _, g, c: [g[0] * c], _corners(lambda a, c: a * c)),
    "times": Operation(lambda _, g, c: [c * g[0]], _corners(lambda a, c: a * c)),
    "shift": Operation(lambda _, g, c: [g[0] + c], _corners(lambda a, c: a + c)),
    "less": Operation(lambda _, g, c: [c - g[0]], _corners(lambda a, c: c - a)),
    "over": Operation(lambda _, g, c: [c / g[0]], _corners(lambda a, c: c / a)),
    "pow": Operation(lambda _, g, c: [g[0] ** c], _pow_range),
    "exp": Operation(lambda a, g, c: [a.exp(g[0])], _corners(lambda a, c: math.exp(min(a, 9.0)))),
    "log": Operation(lambda a, g, c: [a.log(g[0])], _corners(lambda a, c: math.log(a))),
    "relu": Operation(lambda a, g, c: [a.relu(g[0])], _corners(lambda a, c: max(a, 0.0))),
    "sum": Operation(lambda _, g, c: [_total(g)], lambda r, c: [_added(r)]),
    "chain": Operation(lambda _, g, c: [_total(g[1:], g[0])], lambda r, c: [_added(r)]),
    "dot": Operation(
        lambda _, g, c: [_total(_products(g, _times))],
        lambda r, c: [_added(_products(r, _product))],
    ),
    "chain_dot": Operation(
        lambda _, g, c: [_total(_products(g, _times)[1:], _products(g, _times)[0])],
        lambda r, c: [_added(_products(r, _product))],
    ),
    "softmax": Operation(_softmax, lambda r, c: [(0.0, 1.0)] * len(r)),
    "shifted": Operation(lambda a, g, c: [x - a.largest(g) for x in g], _shifted_ranges),
    "pick": Operation(lambda a, g, token: [a.pick(g, token)], lambda r, c: [_union(r)]),
    "row": Operation(_row, _row_ranges),
}
BY_TOKEN = ("pick", "row")
RARE = ("linear", "linear", "pow", "pow", "log", "exp")  # drawn more often
ROUGH = ("shifted",)  # its gradient leaves the largest out: no derivative


def _is_allowed(op: str, constant: float, operand: Range) -> bool:
    """Tell whether an operand, the first of its operation, is in its domain."""
    low, high = operand
    if op in ("div", "over") or (op == "pow" and constant == -1):
        return low >= SMALLEST or high <= -SMALLEST
    if op == "log" or (op == "pow" and constant not in (2, 3)):
        return low >= SMALLEST
    return True


# ---- strategies -------------------------------------------------------------------------------


class _Maker:
    """A function in the making."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], places: int) -> None:
        self._draw = draw
        self._places = places  # tokens of a document
        self.num_params = draw(st.integers(3, 12))
        self.ranges = [PARAM_RANGE] * self.num_params
        self.steps: list[Step] = []

    def any_step(self, ops: Sequence[str]) -> None:
        op = self._draw(st.sampled_from(ops))
        if op == "linear":
            self.linear()
            return
        constant = self._draw(st.sampled_from(self._constants(op)))
        pool = range(len(self.ranges) - 1, -1, -1)
        allowed = [place for place in pool if _is_allowed(op, constant, self.ranges[place])]
        if allowed:
            first = self._draw(st.sampled_from(allowed))
            others = [self._draw(st.sampled_from(pool)) for _ in range(self._arity(op) - 1)]
            self.step(op, [first, *others], constant)

    def step(self, op: str, operands: Sequence[int], constant: float = 0) -> None:
        """Add a step, unless a scalar would become too large."""
        found = OPERATIONS[op].ranges([self.ranges[operand] for operand in operands], constant)
        if max(max(abs(low), abs(high)) for low, high in found) <= LARGEST:
            self.steps.append(Step(op, tuple(operands), constant))
            self.ranges += found

    def linear(self) -> None:
        """Add dots of consecutive parameters with one vector or with windows of a longer one."""
        columns = self._draw(st.integers(1, min(5, self.num_params)))
        rows = self._draw(st.integers(1, self.num_params // columns))
        start = self._draw(st.integers(0, self.num_params - rows * columns))
        size = len(self.ranges)
        for _ in range(self._draw(st.integers(1, 3))):
            x = self._draw(st.integers(0, size - columns))
            stride = self._draw(st.sampled_from([1, 1, 0, -1]))
            vector = [max(0, x + stride * column) for column in range(columns)]
            is_swapped = self._draw(st.booleans())
            op = self._draw(st.sampled_from(["dot", "chain_dot"]))
            for row in range(rows):
                weights = [*range(start + row * columns, start + (row + 1) * columns)]
                self.step(op, [*vector, *weights] if is_swapped else [*weights, *vector])

    def terms(self, count: int) -> tuple[int, ...]:
        """Sum up what no step has used yet, in `count` terms."""
        used = {operand for step in self.steps for operand in step.operands}
        left = [place for place in range(len(self.ranges)) if place not in used]
        terms = []
        for t in range(count):
            pool = range(len(self.ranges))
            terms.append(self._draw(st.sampled_from(pool)))
            if left[t::count]:
                self.steps.append(Step("sum", tuple(left[t::count])))
                self.ranges.append(_added([self.ranges[place] for place in left[t::count]]))
                terms[-1] = len(self.ranges) - 1
        return tuple(terms)

    def _constants(self, op: str) -> Sequence[float]:
        if op in BY_TOKEN:
            return range(self._places)
        return EXPONENTS if op == "pow" else CONSTANTS

    def _arity(self, op: str) -> int:
        if op in ("add", "sub", "mul", "div"):
            return 2
        if op in ("pick", "row"):
            return VOCAB_SIZE * (1 if op == "pick" else 2)
        if op in ("dot", "chain_dot"):
            return 2 * int(self._draw(st.integers(1, 4)))
        if op in ("sum", "chain", "softmax", "shifted"):
            return int(self._draw(st.integers(1, 5)))
        return 1


@st.composite
def functions(
    draw: Callable[[st.SearchStrategy[Any]], Any], positions_max: int = 3, is_smooth: bool = False
) -> Function:
    """Draw a function; a smooth one has the derivative that its gradient says."""
    positions = draw(st.integers(1, positions_max))
    ops = [op for op in (*OPERATIONS, *RARE) if not (is_smooth and op in ROUGH)]
    maker = _Maker(draw, positions + 1)
    for _ in range(draw(st.integers(1, 25))):
        maker.any_step(ops)
    terms = maker.terms(positions)
    return Function(maker.num_params, tuple(maker.steps), terms)


def params_of(function: Function, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(*PARAM_RANGE) for _ in range(function.num_params)]


def documents_of(function: Function, count: int, seed: int) -> list[list[int]]:
    """Make documents of all lengths that the function has terms for."""
    rng = random.Random(seed)
    lengths = [rng.randint(1, len(function.terms)) for _ in range(count)]
    return [[rng.randrange(VOCAB_SIZE) for _ in range(length + 1)] for length in lengths]


# ---- the truth --------------------------------------------------------------------------------


class Truth(NamedTuple):
    """What eager says of a document.

    Attributes:
        grad: (num_params,)
        size: the largest sum of magnitudes that a gradient or the loss was added up from: what
            rounding is relative to.
    """

    loss: float
    grad: list[float]
    size: float


def weighted(terms: Vector) -> Scalar:
    """Give the mean of a document's terms."""
    return _total(terms) * (1 / len(terms))


def eager(function: Function, params: Sequence[float], tokens: Sequence[int]) -> Truth:
    """Differentiate the mean of the first terms, one for each position, by every parameter."""
    positions = len(tokens) - 1
    padded = [*tokens, *[0] * (len(function.terms) - positions)]
    leaves = [Value(param) for param in params]
    loss = weighted(function(VALUES, leaves, padded)[:positions])
    loss.backward()
    magnitudes = {loss: 1.0}
    for node in reversed(depth_first(loss)):
        for child, slope in zip(node.children, node.local_grads, strict=True):
            magnitudes[child] = magnitudes.get(child, 0.0) + abs(slope) * magnitudes[node]
    sizes = [magnitudes.get(leaf, 0.0) for leaf in leaves]
    return Truth(loss.data, [leaf.grad for leaf in leaves], max(1.0, abs(loss.data), *sizes))
