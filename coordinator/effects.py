"""All that a coordinator can ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from coordinator.events import Peer
from coordinator.facts import Fact
from engine.optimizer import Moments
from engine.params import Flat
from engine.shards import Tokens
from engine.tree import Branch
from wire.messages import Message


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message for a peer; if that fails, the peer has departed."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Continue:
    """Say Continued, at once: what was asked for before this is what others wait for."""


@dataclass(frozen=True, slots=True)
class Save:
    """Make a step durable beside the loop, and say Saved or SaveFailed; one at a time.

    Attributes:
        step: updates applied.
        loss: of the last of them, nats; None at step 0.
        contributors: worker -> the first step, counted from 0, that its answer was counted in.
        fingerprint: of the coordinator's own arithmetic; empty where it is not known yet.
    """

    step: int
    params: Flat
    moments: Moments
    loss: float | None
    contributors: Mapping[str, int]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Compute a step's held-out loss beside the loop, and say Evaluated; one at a time.

    The step's line in metrics.jsonl waits for the answer.
    """

    step: int
    params: Flat


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep a step's line out of metrics.jsonl until the step is evaluated; Evaluate will follow."""

    step: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Compute the numeric fingerprint of our own engine beside the loop, and say Probed."""


@dataclass(frozen=True, slots=True)
class Recompute:
    """Sum a disputed branch with our own engine beside the loop, and say Recomputed."""

    dispute: int
    branch: Branch
    params: Flat
    documents: Sequence[Tokens]


@dataclass(frozen=True, slots=True)
class GoBack:
    """Revoke every checkpoint after a step beside the loop, and say WentBack or GoBackFailed.

    A save that is under way is answered first, and revoked as well. The run goes on from the newest
    checkpoint that is left, or from its start.
    """

    step: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Let people know."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Finish:
    """End the service.

    Attributes:
        failure: None if all went well, else one line for a person.
    """

    failure: str | None = None


Effect: TypeAlias = (
    Send | Continue | Save | Evaluate | Hold | Probe | Recompute | GoBack | Tell | Finish
)
