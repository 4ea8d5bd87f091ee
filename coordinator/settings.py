"""How a coordinator is deployed, as opposed to what it trains."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CheckpointEvery:
    """How often to save: every so many steps, or after so many seconds."""

    steps: int | None = None
    seconds: float = 5.0

    def __str__(self) -> str:
        if self.steps is not None:
            return str(self.steps)
        return f"{Decimal(repr(self.seconds)):f}s"  # never 1e-05s, which no flag takes


@dataclass(frozen=True, slots=True)
class Settings:
    """What the coordinator's state machine must know of its deployment.

    Attributes:
        losses_max: workers lost while computing one branch, before the run stops.
        audit: fraction of the branches that two workers compute.
        stops_on_liar: stop when a worker has lied, instead of going back and on.
        accepts_numerics: let workers in whose arithmetic rounds otherwise, and go on with a run
            that began on such a machine.
        unsaved_max: steps that may be at risk because saves fail, before the run stops.
        has_grad_norms: tell the norm of each matrix's gradient with each step.
    """

    checkpoint_every: CheckpointEvery
    heartbeat_s: float = 1.0
    losses_max: int = 3
    audit: float = 0.0
    stops_on_liar: bool = False
    accepts_numerics: bool = False
    unsaved_max: int = 10_000
    has_grad_norms: bool = False
