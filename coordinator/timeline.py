"""Where the time of a step went: one leg for each lease, one number for each phase.

A step lasts from the update before it to its own. Its length is that of one chain: the parameters
reach the worker whose answer is the last, it computes, its gradient comes back, the tree is
finished, Adam is applied. The phases are the links of this chain:

    broadcast   until the parameters have reached that worker
    compute     while it computed
    collect     until its last answer was here: its gradient's way, and its waits between branches
    reduce      the coordinator finishes the tree
    adam        and applies the update
    checkpoint  while the loop prepared a save and waited for nobody; disks are written beside it
    other       the rest: what the coordinator does between those

Only the two ends of a way are known, by one clock, and how long the worker waited and computed in
between: half of what is left is counted for the way there, half for the way back. Nothing that a
coordinator decides depends on any of this.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from coordinator.facts import StepCommitted
from engine.tree import Branch

STEPS_KEPT = 32
PHASES = ("broadcast", "compute", "collect", "reduce", "adam", "checkpoint", "other")
LEGS_KEPT = 512  # of the steps that are kept, so that many workers take no more memory than few


@dataclass(slots=True)
class Leg:
    """One lease: a task's way to a worker, what became of it there, and the gradient's way back.

    Attributes:
        sent_s: when the lease was given, in seconds since the step was opened; received_s: when
            its answer had come, negative until then.
        queued_s: that it waited at the worker for its turn; compute_s: that it was computed.
    """

    worker: str
    lo: int
    hi: int
    sent_s: float
    queued_s: float = 0.0
    compute_s: float = 0.0
    received_s: float = -1.0

    @property
    def is_answered(self) -> bool:
        return self.received_s >= 0.0

    @property
    def way_s(self) -> float:
        """That task and gradient took, one way: what is left, halved."""
        left_s = self.received_s - self.sent_s - self.queued_s - self.compute_s
        return max(0.0, left_s) / 2

    @property
    def begun_s(self) -> float:
        """When the worker began to compute, in seconds since the step was opened."""
        return self.sent_s + self.way_s + self.queued_s


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """The links of a step's chain, seconds each."""

    broadcast: float
    compute: float
    collect: float
    reduce: float
    adam: float
    checkpoint: float
    other: float

    @property
    def by_name(self) -> dict[str, float]:
        """Give them as they are written: whole tenths of a microsecond."""
        return {name: round(getattr(self, name), 7) for name in PHASES}


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step that is done.

    Attributes:
        step: updates applied, counted from 1.
        opened_s: by the coordinator's clock, since it started.
        bytes_sent: parameters and documents; bytes_received: gradients. Headers, some 0.3 kB a
            message, are not counted.
        legs: of the leases that were answered in time.
        last_worker: whose answer was the last; empty if that was the coordinator itself.
    """

    step: int
    opened_s: float
    seconds: float
    loss: float
    documents: int
    workers: int
    phases: PhaseTimes
    bytes_sent: int
    bytes_received: int
    legs: tuple[Leg, ...]
    last_worker: str

    def committed(self, learning_rate: float, grad_norms: Mapping[str, float]) -> StepCommitted:
        """Give the fact that people and files are told."""
        return StepCommitted(
            step=self.step,
            loss=self.loss,
            documents=self.documents,
            seconds=self.seconds,
            workers=self.workers,
            learning_rate=learning_rate,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            phases=self.phases.by_name,
            grad_norms=grad_norms,
        )

    def to_json(self) -> dict[str, Any]:
        """Give it as dashboards get it."""
        legs = [asdict(leg) for leg in self.legs]
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "phases": self.phases.by_name, "legs": legs}


@dataclass(slots=True)
class OpenStep:
    """What is known of a step that is not done.

    Attributes:
        last: the newest answer's.
        save_s: that the loop spent on saves.
    """

    opened_s: float
    legs: dict[int, Leg] = field(default_factory=dict)  # by lease
    last: Leg | None = None
    save_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0


class Timeline:
    """Takes the times of the open step, and keeps those of the last ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin before the first step.

        Args:
            clock: seconds, the same that `now` is taken from.
        """
        self._clock = clock
        self._kept: deque[StepTrace] = deque()
        self._legs_kept = 0
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._started_s = self._clock()
        self._open = OpenStep(self._started_s)

    def forget(self) -> None:
        """Begin a step anywhere in the run: those before it are undone."""
        self._kept.clear()
        self._legs_kept = 0
        self._open = OpenStep(self._clock())

    def lease(self, lease_id: int, worker: str, branch: Branch, payload_bytes: int) -> None:
        """A branch was leased, and its task sent."""
        self._open.legs[lease_id] = Leg(worker, *branch, self._clock() - self._open.opened_s)
        self._open.bytes_sent += payload_bytes

    def drop(self, lease_id: int) -> None:
        """A lease has ended without an answer."""
        self._open.legs.pop(lease_id, None)

    def answer(
        self, lease_id: int, now: float, queued_s: float, compute_s: float, payload_bytes: int
    ) -> None:
        """A gradient has come."""
        self._open.bytes_received += payload_bytes
        leg = self._open.legs.get(lease_id)
        if leg is None:  # of another step
            return
        leg.received_s = now - self._open.opened_s
        out_s = max(0.0, leg.received_s - leg.sent_s)  # what a worker says of itself fits in that
        leg.compute_s = min(max(0.0, compute_s), out_s)
        leg.queued_s = min(max(0.0, queued_s), out_s - leg.compute_s)
        self._open.last = leg

    def save(self, seconds: float) -> None:
        """The loop has spent time on a save."""
        self._open.save_s += seconds

    def commit(self, reduce_s: float, adam_s: float) -> None:
        """End the open step, whose update is applied, and open the next."""
        ended_s = self._clock()
        self._ended = self._open, ended_s - self._open.opened_s, reduce_s, adam_s
        self._open = OpenStep(ended_s)

    def trace(self, step: int, loss: float, documents: int, workers: int) -> StepTrace:
        """Give what is known of the step that was ended last."""
        ended, seconds, reduce_s, adam_s = self._ended
        legs = tuple(leg for leg in ended.legs.values() if leg.is_answered)
        trace = StepTrace(
            step=step,
            opened_s=ended.opened_s - self._started_s,
            seconds=seconds,
            loss=loss,
            documents=documents,
            workers=workers,
            phases=_phases(ended, legs, seconds, reduce_s, adam_s),
            bytes_sent=ended.bytes_sent,
            bytes_received=ended.bytes_received,
            legs=legs,
            last_worker="" if ended.last is None else ended.last.worker,
        )
        self._keep(trace)
        return trace

    @property
    def newest(self) -> StepTrace:
        """The last step; there must be one."""
        return self._kept[-1]

    @property
    def steps(self) -> Sequence[StepTrace]:
        """The last steps, oldest first."""
        return tuple(self._kept)

    def _keep(self, trace: StepTrace) -> None:
        self._kept.append(trace)
        self._legs_kept += len(trace.legs)
        while len(self._kept) > STEPS_KEPT or self._legs_kept > LEGS_KEPT:
            self._legs_kept -= len(self._kept.popleft().legs)


def _phases(
    ended: OpenStep, legs: Sequence[Leg], seconds: float, reduce_s: float, adam_s: float
) -> PhaseTimes:
    broadcast_s = compute_s = collect_s = 0.0
    if (last := ended.last) is not None:
        own = [leg for leg in legs if leg.worker == last.worker]
        for leg in own:
            compute_s += leg.compute_s
        broadcast_s = own[0].sent_s + own[0].way_s
        compute_s = min(compute_s, max(0.0, last.received_s - broadcast_s))
        collect_s = max(0.0, last.received_s - broadcast_s - compute_s)
    chain_s = broadcast_s + compute_s + collect_s + reduce_s + adam_s
    left_s = max(0.0, seconds - chain_s)
    checkpoint_s = min(ended.save_s, left_s)  # the rest of it was behind the chain
    return PhaseTimes(
        broadcast=broadcast_s,
        compute=compute_s,
        collect=collect_s,
        reduce=reduce_s,
        adam=adam_s,
        checkpoint=checkpoint_s,
        other=left_s - checkpoint_s,
    )
