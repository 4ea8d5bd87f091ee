"""All that a coordinator can ask for."""

from dataclasses import dataclass
from typing import TypeAlias

from coordinator.events import Peer
from coordinator.facts import Fact
from engine.optimizer import Moments
from engine.params import Flat
from wire.messages import Message


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message for a peer; if that fails, the peer has departed."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Save:
    """Make a step durable, and say Saved or SaveFailed.

    Attributes:
        step: updates applied.
        loss: of the last of them, nats; None at step 0.
    """

    step: int
    params: Flat
    moments: Moments
    loss: float | None


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Compute a step's held-out loss beside the loop, and say Evaluated; one at a time.

    The step's line in metrics.jsonl waits for the answer.
    """

    step: int
    params: Flat


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


Effect: TypeAlias = Send | Save | Evaluate | Tell | Finish
