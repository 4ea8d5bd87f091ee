"""All that a worker can ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.config import WorkConfig
from engine.params import Flat
from engine.shards import Tokens
from wire.messages import Message


@dataclass(frozen=True, slots=True)
class Connect:
    """Drop the socket there is and begin to connect with a new one."""


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message for the coordinator; if that fails, say Unsent."""

    message: Message


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build the engine, probe and time it, and say Prepared."""

    work: WorkConfig


@dataclass(frozen=True, slots=True)
class Compute:
    """Sum the gradients of a branch; say DocumentDone after each document, BranchDone at the end.

    Replaces whatever was being computed.
    """

    lo: int
    hi: int
    params: Flat
    documents: Sequence[Tokens]


@dataclass(frozen=True, slots=True)
class Abandon:
    """Compute nothing more of the current branch."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Let people know."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """End the service.

    Attributes:
        failure: None after a clean leave, else one line for a person.
        is_permanent: trying again would fail again.
    """

    failure: str | None = None
    is_permanent: bool = False


Effect: TypeAlias = Connect | Send | Prepare | Compute | Abandon | Tell | Exit
