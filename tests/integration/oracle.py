"""A run in two shapes: as flags for the command line, and as the loop of engine.reference."""

from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from engine.config import TrainConfig
from engine.engines import engine_of
from engine.params import to_bytes, weights_sha256
from engine.reference import train
from engine.run import prepare_run

GIVEN_NAMES = Path(__file__).resolve().parents[2] / "cli" / "given_names.txt"
DOCUMENTS = tuple(name for name in GIVEN_NAMES.read_text().split() if len(name) <= 5)


@dataclass(frozen=True)
class Expected:
    """What a single process makes of a job: a loss for each step, and the last parameters."""

    losses: list[float]
    weights_sha256: str


@dataclass(frozen=True)
class Job:
    """One run. The default takes a core about two seconds."""

    steps: int = 30
    batch_size: int = 8
    shards: int = 8
    n_embd: int = 4
    n_head: int = 2
    n_layer: int = 1
    block_size: int = 6
    activation: str = "relu"
    norm: str = "rms"
    engine: str = "eager"
    seed: int = 7
    learning_rate: float = 0.02
    held_out: float = 0.0

    def flags(self) -> list[str]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]

    def expected(self, steps: int | None = None) -> Expected:
        """Compute the run, or its first steps, in this process; once for each job."""
        return _expected(self, self.steps if steps is None else steps)


@cache
def _expected(job: Job, steps: int) -> Expected:
    config = TrainConfig(
        steps=job.steps,
        batch_size=job.batch_size,
        shards=job.shards,
        seed=job.seed,
        engine=job.engine,
        learning_rate=job.learning_rate,
        held_out=job.held_out,
    )
    names = ("n_embd", "n_head", "n_layer", "block_size", "activation", "norm")
    run = prepare_run(DOCUMENTS, config, {name: getattr(job, name) for name in names})
    losses, params = [], run.params
    for loss, updated in islice(train(run, engine_of(config.engine, run.model)), steps):
        losses.append(loss)
        params = updated
    return Expected(losses, weights_sha256(to_bytes(params)))
