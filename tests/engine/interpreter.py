"""A program replayed for one document on plain floats, one row at a time.

Slower than the kernels and stricter: a row of gradients does not exist before its first writer has
stored it or cleared it, and no row has two first writers.
"""

from collections.abc import Sequence
from itertools import pairwise

from engine.adjoint import Backstep, plan_backward
from engine.ops import BINARY, UNARY
from engine.program import AnyInstruction, Instruction, Matmul, Program


class Interpreter:
    """One replay.

    Attributes:
        values: what the rows hold.
        param_grads: (num_params,)
    """

    def __init__(self, program: Program, params: Sequence[float], tokens: Sequence[int]) -> None:
        self._program, self._params, self._tokens = program, params, tokens
        self.values: list[float] = []
        self.grads: list[float | None] = [None] * program.rows
        self.param_grads = [0.0] * program.num_params
        for instruction in program.instructions:
            assert instruction.first == len(self.values)
            for i in range(instruction.count):
                self.values.append(self._value(instruction, i))

    @property
    def terms(self) -> list[float]:
        return [self.values[row] for row in self._program.terms]

    def backward(self, weights: Sequence[float]) -> None:
        """Pass gradients on, from `weights`, one for each term, to the parameters."""
        for step in plan_backward(self._program):
            for row in step.clears:
                assert self.grads[row] is None, f"row {row} is cleared, and had a writer — {step}"
                self.grads[row] = 0.0
            if step.instruction < 0:
                for row, weight in zip(self._program.terms, weights, strict=True):
                    self._give(step, 0, row, weight)
            else:
                instruction = self._program.instructions[step.instruction]
                for i in range(instruction.count):
                    self._back(step, instruction, i)

    # ---- forward -------------------------------------------------------------------------------

    def _value(self, instruction: AnyInstruction, i: int) -> float:
        total = 0.0
        if isinstance(instruction, Matmul):
            for weight, row in _products(instruction, i):
                total += self._params[weight] * self.values[row]
            return total
        op, constant = instruction.op, instruction.constant
        if op == "const":
            return constant
        if op in ("spread", "lookup"):
            numbers = _operands(instruction, i)[0]
            return self._params[numbers[self._token(instruction, i)]]
        given = [[self.values[row] for row in rows] for rows in _operands(instruction, i)]
        if op in UNARY:
            return float(UNARY[op].forward(given[0][0], constant))
        if op in BINARY:
            return float(BINARY[op].forward(given[0][0], given[1][0]))
        if op == "max":
            return max(given[0])
        if op == "pick":
            return given[0][self._token(instruction, i)]
        assert op in ("sum", "dot")
        for factors in zip(*given, strict=True):
            total += factors[0] if op == "sum" else factors[0] * factors[1]
        return total

    def _token(self, instruction: Instruction, i: int) -> int:
        return self._tokens[instruction.tokens[i]] if instruction.tokens else 0

    # ---- backward ------------------------------------------------------------------------------

    def _back(self, step: Backstep, instruction: AnyInstruction, i: int) -> None:
        grad = self.grads[instruction.first + i]
        assert grad is not None, f"row {instruction.first + i} is read before it is written"
        if isinstance(instruction, Matmul):
            self._back_matmul(step, instruction, i)
            return
        op, constant = instruction.op, instruction.constant
        operands = _operands(instruction, i)
        if op in ("spread", "lookup"):
            self.param_grads[operands[0][self._token(instruction, i)]] += grad
        elif op in UNARY:
            (row,), own = operands[0], self.values[instruction.first + i]
            slope = UNARY[op].slope(self.values[row], own, constant)
            self._give(step, 0, row, grad * slope)
        elif op in BINARY:
            (a,), (b,) = operands
            given = self.values[a], self.values[b]
            self._give(step, 0, a, grad * BINARY[op].slope_a(*given))
            self._give(step, 1, b, grad * BINARY[op].slope_b(*given))
        elif op == "dot":
            for a, b in zip(*operands, strict=True):
                self._give(step, 0, a, grad * self.values[b])
                self._give(step, 1, b, grad * self.values[a])
        else:
            for k, row in enumerate(operands[0]):
                share = grad if op == "sum" or k == self._token(instruction, i) else 0.0
                self._give(step, 0, row, share)

    def _back_matmul(self, step: Backstep, matmul: Matmul, i: int) -> None:
        """All of a vector's gradient at its first row: the kernel reads it once for all of them."""
        vector, row = divmod(i, matmul.rows)
        for weight, x in _products(matmul, i):
            self.param_grads[weight] += self._grad(matmul.first + i) * self.values[x]
        if row == 0:
            for k in range(matmul.columns):
                total = 0.0
                for m in range(matmul.rows):
                    weight = self._params[matmul.weights + m * matmul.columns + k]
                    total += self._grad(matmul.first + vector * matmul.rows + m) * weight
                self._give(step, 0, matmul.x_rows[vector * matmul.columns + k], total)

    def _grad(self, row: int) -> float:
        grad = self.grads[row]
        assert grad is not None, f"row {row} is read before it is written"
        return grad

    def _give(self, step: Backstep, operand: int, row: int, share: float) -> None:
        if step.stores[operand]:
            assert self.grads[row] is None, f"row {row} has two first writers — {step}"
            self.grads[row] = share
        else:
            self.grads[row] = self._grad(row) + share


def _operands(instruction: Instruction, i: int) -> list[tuple[int, ...]]:
    """Give the i-th row's operands."""
    if not instruction.bounds:
        return [rows[i : i + 1] for rows in instruction.operands]
    low, high = [*pairwise(instruction.bounds)][i]
    return [rows[low:high] for rows in instruction.operands]


def _products(matmul: Matmul, i: int) -> list[tuple[int, int]]:
    """Give the parameters and rows whose products the i-th row adds up."""
    vector, row = divmod(i, matmul.rows)
    return [
        (
            matmul.weights + row * matmul.columns + k,
            matmul.x + vector * matmul.x_vector + k * matmul.x_column,
        )
        for k in range(matmul.columns)
    ]
