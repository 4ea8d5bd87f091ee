"""What a coordinator tells people: the lines of its log and the picture of its progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class StepCommitted:
    """The update of a step is applied in memory.

    Attributes:
        step: updates applied, counted from 1.
        loss: mean over the global batch, nats.
        documents: how many documents the step had.
        seconds: from the commit before it to this one.
        workers: members that were ready for work.
        learning_rate: of this update.
        bytes_sent: parameters and documents; bytes_received: gradients.
        phases: where the seconds went, see coordinator.timeline.
        grad_norms: matrix -> Euclidean norm of its mean gradient, where they are wanted.
    """

    step: int
    loss: float
    documents: int
    seconds: float
    workers: int
    learning_rate: float
    bytes_sent: int = 0
    bytes_received: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)
    grad_norms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A worker is ready for work."""

    name: str
    host: str
    pid: int
    world_size: int


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """How one worker does.

    Attributes:
        state: what it does just now, for people.
        documents_per_s: of its own computing.
        waited_for: steps that ended with its answer.
    """

    name: str
    state: str
    documents_per_s: float
    waited_for: int


@dataclass(frozen=True, slots=True)
class MembersSeen:
    """How the workers do; told once a second."""

    members: tuple[MemberSeen, ...]


@dataclass(frozen=True, slots=True)
class MemberLost:
    """A worker is gone; the branches it held are free for others."""

    name: str
    reason: str
    branches_freed: int
    world_size: int


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A worker was told to leave."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """A connection ended before a message came.

    Attributes:
        address: it came from.
        wrong: what it did, or had.
        count: of such connections so far; not each of many has a fact.
    """

    address: str
    wrong: str
    count: int


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """Something from a peer was counted and otherwise ignored."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class GradNotCounted:
    """A gradient was refused."""

    name: str
    step: int
    status: str


@dataclass(frozen=True, slots=True)
class BranchHedged:
    """A branch that takes long was given to a second worker as well.

    Attributes:
        step: counted from 1.
        seconds: that the first copy has been out.
        count: of hedged branches so far.
    """

    name: str
    step: int
    lo: int
    hi: int
    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class LiarFound:
    """A worker has answered with other bits than our own engine.

    Attributes:
        step: of the answer, counted from 1.
    """

    name: str
    step: int
    lo: int
    hi: int


@dataclass(frozen=True, slots=True)
class RunWentBack:
    """Steps that a liar has contributed to are undone.

    Attributes:
        step: updates that were applied.
        to_step: updates that are left.
    """

    step: int
    to_step: int


@dataclass(frozen=True, slots=True)
class CheckpointPassedOver:
    """A checkpoint is not valid; an older one is used."""

    complaint: str


@dataclass(frozen=True, slots=True)
class SaveStuck:
    """A save has not ended for long; training goes on from memory.

    Attributes:
        seconds: since it began.
        unsaved: steps that a crash would cost now.
    """

    step: int
    seconds: float
    unsaved: int


@dataclass(frozen=True, slots=True)
class CheckpointDurable:
    """A step is on disk.

    Attributes:
        seconds: that the save took, beside the loop.
        failed_before: saves that have failed since the one before.
    """

    step: int
    seconds: float
    failed_before: int


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """A step could not be written to disk; training goes on from memory.

    Attributes:
        unsaved: steps that a crash would cost now.
        count: saves that have failed, one after the other.
    """

    step: int
    reason: str
    unsaved: int
    count: int


@dataclass(frozen=True, slots=True)
class HeldOutEvaluated:
    """The loss on the held-out documents is known for a step that is saved.

    Attributes:
        step: updates applied; 0 is the start of the run.
        held_out_loss: mean in nats; NaN where the arithmetic left the floats.
    """

    step: int
    held_out_loss: float


Fact: TypeAlias = (
    StepCommitted
    | MemberJoined
    | MembersSeen
    | MemberLost
    | PeerRefused
    | ConnectionRefused
    | MessageDropped
    | GradNotCounted
    | BranchHedged
    | LiarFound
    | RunWentBack
    | CheckpointPassedOver
    | SaveStuck
    | CheckpointDurable
    | CheckpointFailed
    | HeldOutEvaluated
)
