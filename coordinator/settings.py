"""How a coordinator is deployed, as opposed to what it trains."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckpointEvery:
    """How often to save: every so many steps, or after so many seconds."""

    steps: int | None = None
    seconds: float = 5.0

    def __str__(self) -> str:
        return f"{self.seconds}s" if self.steps is None else str(self.steps)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the coordinator's state machine must know of its deployment."""

    checkpoint_every: CheckpointEvery
    heartbeat_s: float = 1.0
