"""What a seed decides before its world begins: how many workers, of which kinds, which faults."""

import random
from dataclasses import dataclass
from enum import Enum

from coordinator.settings import CheckpointEvery


class Kind(Enum):
    """What a worker process is; all but HONEST and LIAR must never have a gradient counted."""

    HONEST = "honest"
    LIAR = "liar"  # wrong gradients now and then, with the right digests
    OLD_VERSION = "old version"
    OTHER_CONFIG = "other config"
    OTHER_NUMERICS = "other numerics"
    STALE_PARAMS = "stale params"  # differentiates by the parameters before, and says so


CONTRIBUTORS = (Kind.HONEST, Kind.LIAR)
STRANGE = (Kind.OLD_VERSION, Kind.OTHER_CONFIG, Kind.OTHER_NUMERICS, Kind.STALE_PARAMS)


@dataclass(frozen=True, slots=True)
class Plan:
    """One world.

    Attributes:
        workers: how many the world keeps alive; who ends is followed by another.
        strangers: workers that must be refused; they come besides.
        quiet_s: from then on nothing fails any more, and the run must end.
        calm_s: mean time between two of chaos's blows.
        loss, duplication, reordering, corruption: probability for each message.
        nan: probability that a branch's first answer is not a number.
        lie: probability that a liar lies.
        liars: how many there are from the start; who is found comes back, if it is stubborn.
        deadly_step: whoever computes its first shard dies of it.
        slow_save: probability that a save takes seconds, or more than a stop waits for.
        unsaved_max: steps that may be at risk because saves fail.
        other_machine: probability that a coordinator starts on a machine that rounds otherwise.
    """

    steps: int
    every: CheckpointEvery
    has_held_out: bool
    workers: int
    strangers: tuple[Kind, ...]
    quiet_s: float
    calm_s: float
    latency_s: float
    loss: float
    duplication: float
    reordering: float
    corruption: float
    save_s: float
    save_failure: float
    nan: float
    lie: float
    liars: int
    audit: float
    slow_save: float
    unsaved_max: int
    other_machine: float
    deadly_step: int | None = None


def plan_of(rng: random.Random) -> Plan:
    """Draw a world: most have some faults often and others never, so that each is seen alone."""
    audit = rng.choice((0.0, 0.0, 0.3, 1.0))
    return Plan(
        steps=rng.choice((6, 8, 10)),
        every=rng.choice(
            (CheckpointEvery(steps=1), CheckpointEvery(steps=3), CheckpointEvery(seconds=2.0))
        ),
        has_held_out=rng.random() < 0.3,
        workers=rng.choice((1, 2, 2, 3, 4)),
        strangers=tuple(kind for kind in STRANGE if rng.random() < 0.2),
        quiet_s=rng.uniform(5.0, 30.0),
        calm_s=rng.choice((0.7, 1.5, 4.0)),
        latency_s=rng.choice((0.001, 0.01, 0.1)),
        loss=rng.choice((0.0, 0.0, 0.01, 0.05)),
        duplication=rng.choice((0.0, 0.0, 0.02, 0.2)),
        reordering=rng.choice((0.0, 0.0, 0.02, 0.2)),
        corruption=rng.choice((0.0, 0.0, 0.01, 0.05)),
        save_s=rng.choice((0.0, 0.01, 0.5, 2.0)),
        save_failure=rng.choice((0.0, 0.0, 0.2, 0.6)),
        nan=rng.choice((0.0, 0.0, 0.03, 0.1)),
        lie=rng.choice((0.2, 1.0)),
        liars=rng.choice((0, 1)),
        audit=audit,
        slow_save=rng.choice((0.0, 0.2, 0.5)),
        unsaved_max=rng.choice((10_000, 10_000, 3, 1)),
        other_machine=rng.choice((0.0, 0.5)),
    )
