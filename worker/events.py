"""All that can happen to a worker."""

from dataclasses import dataclass
from typing import TypeAlias

from wire.messages import Message


@dataclass(frozen=True, slots=True)
class Opened:
    """There is a coordinator's socket at the other end."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended, or could not be made.

    Attributes:
        reason: why, for people.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """A message arrived whole."""

    message: Message


@dataclass(frozen=True, slots=True)
class Garbled:
    """Bytes arrived that are no message."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message found nobody to take it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The engine is ready.

    Attributes:
        document_s: the largest portion that a task can bring takes so many seconds: one document
            for eager, a shard for compiled.
        fingerprint: of the engine on this machine, see engine.fingerprint.
    """

    document_s: float
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DocumentDone:
    """One more document of the current lease is differentiated."""

    documents_done: int


@dataclass(frozen=True, slots=True)
class BranchDone:
    """The current lease is computed: sums over its documents, gradient as bytes."""

    loss_sum: float
    grad_sum: bytes
    compute_s: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed; every message that had arrived by now has been handled."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants this worker to leave."""


Event: TypeAlias = (
    Opened
    | Closed
    | Received
    | Garbled
    | Unsent
    | Prepared
    | DocumentDone
    | BranchDone
    | Ticked
    | StopAsked
)
