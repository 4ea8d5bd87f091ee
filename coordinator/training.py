"""The run's arithmetic between two messages: parameters, the open step, and its commit.

Pure and synchronous. A step is committed in one call: finish the tree, divide once by the batch,
apply Adam, open the next step; so there is no half-applied step for anybody to see.
"""

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coordinator.leases import Board, BranchSum
from engine.gradient import Engine
from engine.optimizer import Moments, learning_rate
from engine.params import Flat, layout_of, to_bytes
from engine.run import Run
from engine.shards import Tokens, branch_documents, global_batch, order_by_length
from engine.tree import Branch, cut_branches
from wire.digest import params_digest
from wire.messages import DUPLICATE, MISMATCH, NONFINITE, STALE, Grad
from wire.payload import join, pack

NONFINITE_MAX = 3  # answers that are not numbers, before a branch is given up whatever they say


@dataclass(frozen=True, slots=True)
class Point:
    """Where a step is differentiated: its parameters, and its global batch in order."""

    step: int
    params: Flat
    params_bytes: bytes
    params_digest: str
    batch: "Batch"


@dataclass(frozen=True, slots=True)
class Batch:
    """The global batch of a step.

    Attributes:
        documents: in order.
        packed: the same, as they travel.
    """

    step: int
    documents: Sequence[Tokens]
    packed: Sequence[bytes]


class Training:
    """One run, `step` updates after its start.

    Attributes:
        loss: of the last update, mean over its global batch in nats; None before the first.
        point: of the open step.
        previous: of the step before it, whose late answers are still compared; None at first.
        board: the open step's branches.
    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        step: int,
        params: Flat,
        moments: Moments,
        loss: float | None,
    ) -> None:
        self._run = run
        self._engine = engine
        self._ahead: Batch | None = None
        self._layout = layout_of(run.model)
        self._cuts: dict[int, list[Branch]] = {}  # by count: a step is cut as the one before
        self._packed = [*map(pack, run.documents)]
        self.go_to(step, params, moments, loss)

    def go_to(self, step: int, params: Flat, moments: Moments, loss: float | None) -> None:
        """Stand anywhere in the run, as if nothing had come before."""
        self.previous: Point | None = None
        self._set(step, params, moments, loss)

    def reopen(self) -> None:
        """Forget every answer to the open step."""
        self._nonfinite: dict[Branch, list[tuple[str, bytes]]] = {}
        self.cut(1)

    def _set(self, step: int, params: Flat, moments: Moments, loss: float | None) -> None:
        self.moments = moments
        self.loss = loss
        params_bytes = to_bytes(params)
        ahead, self._ahead = self._ahead, None
        batch = ahead if ahead is not None and ahead.step == step else self._batch_of(step)
        self.point = Point(step, params, params_bytes, params_digest(params_bytes), batch)
        self.reopen()

    def look_ahead(self) -> None:
        """Put the next step's documents in order while nobody waits: they need no parameters."""
        if self._ahead is None and not self.is_finished:
            self._ahead = self._batch_of(self.step + 1)

    def _batch_of(self, step: int) -> Batch:
        size = self._run.train.batch_size
        documents = order_by_length(global_batch(self._run.documents, step, size))
        packed = order_by_length(global_batch(self._packed, step, size))  # two bytes a token
        return Batch(step, documents, packed)

    @property
    def step(self) -> int:
        """Updates applied."""
        return self.point.step

    @property
    def params(self) -> Flat:
        return self.point.params

    @property
    def params_digest(self) -> str:
        """Names the parameters that the open step differentiates by."""
        return self.point.params_digest

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self._run.train.steps

    @property
    def shards(self) -> int:
        """Leaves of the tree."""
        return self._run.train.shards

    @property
    def is_finished(self) -> bool:
        return self.step >= self.steps

    @property
    def learning_rate(self) -> float:
        """Of the open step."""
        return learning_rate(self._run.train, self.step)

    def cut(self, count: int) -> None:
        """Cut the open step into about `count` branches; nothing of it may be leased yet."""
        if count not in self._cuts:
            self._cuts[count] = cut_branches(self._run.train.shards, count)
        self.board = Board(self._cuts[count])

    def count_documents(self, branch: Branch) -> int:
        return len(self.documents(self.point, branch))

    def documents(self, point: Point, branch: Branch) -> Sequence[Tokens]:
        return branch_documents(point.batch.documents, *branch, self._run.train.shards)

    def texts(self, branch: Branch) -> list[str]:
        """Give the documents of a branch of the open step, for people."""
        tokenizer = self._run.tokenizer
        documents = self.documents(self.point, branch)
        return [tokenizer.decode([t for t in tokens if t != tokenizer.bos]) for tokens in documents]

    def payload(self, branch: Branch) -> bytes:
        """Give the documents that a TASK for a branch carries."""
        return join(branch_documents(self.point.batch.packed, *branch, self._run.train.shards))

    def grad_norms(self) -> dict[str, float]:
        """Give the Euclidean norm of each matrix's part of the last update's mean gradient."""
        grad = np.frombuffer(self._grad)
        squares = np.add.reduceat(grad * grad, [matrix.offset for matrix in self._layout])
        names = (matrix.name for matrix in self._layout)
        return dict(zip(names, np.sqrt(squares).tolist(), strict=True))

    def judge(self, grad: Grad) -> str:
        """Say why a gradient cannot be counted; empty if it can."""
        branch = (grad.lo, grad.hi)
        if grad.step != self.step or self.is_finished:
            return STALE
        if not self.board.holds(branch) or not is_of(self.point, grad):
            return MISMATCH
        if self.board.is_summed(branch):
            return DUPLICATE
        return "" if self.branch_sum(grad).is_finite else NONFINITE

    def note_nonfinite(self, grad: Grad, name: str) -> bool:
        """Remember a member's answer that is not a number; say whether it may be the truth.

        A gradient is a pure function of parameters and documents: two equal answers are enough.
        """
        answers = self._nonfinite.setdefault((grad.lo, grad.hi), [])
        digest = hashlib.sha256(grad.payload).digest()
        is_said_twice = digest in [other for _, other in answers]
        answers.append((name, digest))
        return is_said_twice or len(answers) >= NONFINITE_MAX

    def failed_by(self, name: str) -> list[Branch]:
        """Give the branches for which a member's answer was not a number."""
        return [
            branch
            for branch, answers in self._nonfinite.items()
            if name in [other for other, _ in answers]
        ]

    def branch_sum(self, grad: Grad) -> BranchSum:
        return BranchSum(grad.loss_sum, _vector(grad))

    def reduce(self) -> BranchSum:
        """Finish the open step's tree: the sums over its global batch."""
        with np.errstate(over="ignore", invalid="ignore"):  # judged by `commit`
            return self.board.total(self._run.train.shards)

    def commit(self, total: BranchSum) -> None:
        """Apply the open step's update and open the next step.

        Raises:
            OverflowError: the update leaves the floats.
        """
        config = self._run.train
        with np.errstate(over="ignore", invalid="ignore"):
            grad = array("d", (total.grad / config.batch_size).tobytes())
        if not math.isfinite(total.loss):
            raise OverflowError("the loss leaves the floats")
        params, moments = self._engine.update(config, self.step, self.params, self.moments, grad)
        self._grad = grad
        self.previous = self.point
        self._set(self.step + 1, params, moments, total.loss / config.batch_size)


def is_of(point: Point, grad: Grad) -> bool:
    """Say whether a gradient is by these parameters, and as long."""
    is_same = (grad.step, grad.params_digest) == (point.step, point.params_digest)
    return is_same and len(grad.payload) == len(point.params_bytes)


def _vector(grad: Grad) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.frombuffer(grad.payload, dtype="<f8")
