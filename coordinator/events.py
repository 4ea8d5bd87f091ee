"""All that can happen to a coordinator."""

from dataclasses import dataclass
from typing import TypeAlias

from coordinator.leases import BranchSum
from engine.optimizer import Moments
from engine.params import Flat
from wire.messages import Message

Peer: TypeAlias = bytes  # the routing id that the transport gave a connection


@dataclass(frozen=True, slots=True)
class Started:
    """The run directory is ours, and the address is bound."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message arrived whole."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Garbled:
    """Bytes arrived that are no message."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class StrangerArrived:
    """A HELLO arrived in another version of the protocol."""

    peer: Peer
    text: str


@dataclass(frozen=True, slots=True)
class StrangerLeft:
    """A connection ended before a message came.

    Attributes:
        address: it came from, for people.
        wrong: what it did, or had.
    """

    address: str
    wrong: str


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """The key of a peer that is in was revoked; nothing that it says arrives any more."""

    peer: Peer
    key_name: str


@dataclass(frozen=True, slots=True)
class Departed:
    """A connection ended, or can take no more."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Continued:
    """The workers have what they wait for after a commit."""


@dataclass(frozen=True, slots=True)
class SaveBegan:
    """A save is under way, beside the loop.

    Attributes:
        seconds: that the loop has spent on it.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is durable.

    Attributes:
        seconds: that it took.
    """

    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SaveFailed:
    """A checkpoint could not be written."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The held-out loss of a step is known.

    Attributes:
        held_out_loss: mean in nats; NaN where the arithmetic left the floats.
    """

    step: int
    held_out_loss: float


@dataclass(frozen=True, slots=True)
class Probed:
    """The numeric fingerprint of our own engine is known."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What our own engine makes of a disputed branch."""

    dispute: int
    truth: BranchSum


@dataclass(frozen=True, slots=True)
class WentBack:
    """Checkpoints that a liar may have spoilt are gone; the run stands before its contribution.

    Attributes:
        loss: of the last update that is left, nats; None at step 0.
        durable_step: the newest step on disk; -1 if there is none.
        complaints: what was wrong with checkpoints that were passed over, for people.
    """

    step: int
    params: Flat
    moments: Moments
    loss: float | None
    durable_step: int
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GoBackFailed:
    """Checkpoints that a liar may have spoilt could not be removed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed; every message that had arrived by now has been handled."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Something at the edge makes it impossible to go on.

    Attributes:
        reason: one line for a person.
        saves_last: the last committed step is worth a save.
    """

    reason: str
    saves_last: bool = True


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants this coordinator to save and leave; said again every turn until it has."""


Event: TypeAlias = (
    Started
    | Received
    | Garbled
    | StrangerArrived
    | StrangerLeft
    | KeyRevoked
    | Departed
    | Continued
    | SaveBegan
    | Saved
    | SaveFailed
    | Evaluated
    | Probed
    | Recomputed
    | WentBack
    | GoBackFailed
    | Ticked
    | Failed
    | StopAsked
)
