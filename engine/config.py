"""The settings of a run: frozen, validated, and the only place where a default lives.

`ModelConfig` is the shape of the network, `TrainConfig` what one run does with it, and
`WorkConfig` the part of both that decides a gradient: it is all that a worker is told.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from engine.errors import ConfigError

ENGINES = ("eager", "compiled")
ACTIVATIONS = ("relu", "relu2")
NORMS = ("rms", "layer")
SCHEDULES = ("linear", "cosine", "constant")

BATCH_SIZE_MAX = 1_000_000
BLOCK_SIZE_MAX = 65_534  # a document's number of tokens travels as uint16
VOCAB_SIZE_MAX = 65_535  # token ids travel as uint16
TASK_BYTES_MAX = 15 * 1024 * 1024  # parameters and documents of one task; a frame has 16 MiB
NUM_PARAMS_MAX = TASK_BYTES_MAX // 8
# Parameters times positions: to trace and fuse so large a graph takes 25 s and 1.3 GB.
COMPILED_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of microgpt: a GPT-2 whose norms have no gains and whose sums have no biases."""

    vocab_size: int  # characters and BOS
    n_layer: int = 1
    n_embd: int = 16
    n_head: int = 4
    block_size: int = 16  # positions; a longer document is cut
    activation: str = "relu"
    norm: str = "rms"

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_embd", "n_head"):
            _check_int(name, getattr(self, name), 1)
        _check_int("block_size", self.block_size, 1, BLOCK_SIZE_MAX)
        _check_int("vocab_size", self.vocab_size, 3, VOCAB_SIZE_MAX)
        _check_choice("activation", self.activation, ACTIVATIONS)
        _check_choice("norm", self.norm, NORMS)
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"expected n_embd to be a multiple of n_head, got n_embd {self.n_embd} and"
                f" n_head {self.n_head} — model config; change --n-embd or --n-head"
            )
        if self.num_params > NUM_PARAMS_MAX:
            raise ConfigError(
                f"expected at most {NUM_PARAMS_MAX:,} parameters, got {self.num_params:,}"
                " — model config; lower --n-embd, --n-layer or --block-size"
            )

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def num_params(self) -> int:
        embeddings = (2 * self.vocab_size + self.block_size) * self.n_embd
        return embeddings + self.n_layer * 12 * self.n_embd**2


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What one run does: which documents make a step, and how a step changes the parameters."""

    steps: int
    batch_size: int  # documents of one global batch
    shards: int  # leaves of the reduction tree; fixed for the run, whoever computes them
    seed: int = 42
    engine: str = "compiled"
    learning_rate: float = 0.01
    beta1: float = 0.85
    beta2: float = 0.99
    epsilon: float = 1e-8
    schedule: str = "linear"
    warmup_steps: int = 0
    held_out: float = 0.0  # fraction of the documents that no step ever sees

    def __post_init__(self) -> None:
        _check_int("steps", self.steps, 1)
        _check_int("batch_size", self.batch_size, 1, BATCH_SIZE_MAX)
        _check_int("shards", self.shards, 1)
        _check_int("seed", self.seed, 0, 2**63 - 1)
        _check_int("warmup_steps", self.warmup_steps, 0)
        _check_choice("engine", self.engine, ENGINES)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_float("learning_rate", self.learning_rate, 0.0, math.inf)
        _check_float("epsilon", self.epsilon, 0.0, math.inf)
        for name in ("beta1", "beta2", "held_out"):
            if getattr(self, name) != 0:
                _check_float(name, getattr(self, name), 0.0, 1.0)
        if self.shards > self.batch_size:
            raise ConfigError(
                f"expected at most one shard per document, got {self.shards} shards for a batch of"
                f" {self.batch_size} — train config; lower --shards or raise --batch-size"
            )


@dataclass(frozen=True, slots=True)
class WorkConfig:
    """All that decides a gradient besides the parameters and the documents."""

    engine: str
    batch_size: int
    shards: int
    model: ModelConfig

    def __post_init__(self) -> None:
        _check_choice("engine", self.engine, ENGINES)
        _check_int("batch_size", self.batch_size, 1, BATCH_SIZE_MAX)
        _check_int("shards", self.shards, 1, self.batch_size)
        document_bytes = 2 * (self.model.block_size + 2)  # a length and at most so many tokens
        task_bytes = 8 * self.model.num_params + self.batch_size * document_bytes
        if task_bytes > TASK_BYTES_MAX:
            raise ConfigError(
                f"expected parameters and a global batch of at most {TASK_BYTES_MAX:,} bytes, got"
                f" {task_bytes:,} — train config; lower --batch-size, --block-size or --n-embd"
            )
        size = self.model.num_params * self.model.block_size
        if self.engine == "compiled" and size > COMPILED_MAX:
            raise ConfigError(
                f"expected at most {COMPILED_MAX:,} parameters times positions for the compiled"
                f" engine, got {size:,} — model config; lower --n-embd, --n-layer or"
                " --block-size, or use --engine eager"
            )

    def to_json(self) -> str:
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "WorkConfig":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is not such an object, or its values cannot be a run.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):  # a thousand brackets are not a config
            values = None
        _check_fields(cls, values)
        _check_fields(ModelConfig, values["model"])
        return cls(**{**values, "model": ModelConfig(**values["model"])})

    @property
    def digest(self) -> str:
        """Sha256 of the canonical JSON: equal for two processes that compute the same thing."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def canonical_json(values: object) -> str:
    """One text for one value: sorted keys, no spaces, full float precision."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_fields(config: type, values: Any) -> None:
    expected = sorted(field.name for field in fields(config))
    if not isinstance(values, dict) or sorted(values) != expected:
        raise ConfigError(
            f"expected the fields {', '.join(expected)}, got {str(values)[:200]!r}"
            f" — {config.__name__}; run the same version everywhere"
        )


def _check_int(name: str, value: Any, low: int, high: int | None = None) -> None:
    bound = f"{low} or more" if high is None else f"{low} to {high:,}"
    if type(value) is not int or value < low or (high is not None and value > high):
        raise ConfigError(f"expected {name} of {bound}, got {value!r} — change {_flag(name)}")


def _check_float(name: str, value: Any, low: float, high: float) -> None:
    if type(value) is not float or not low < value < high:
        expected = f"{name} between {low:g} and {high:g}"
        if high == math.inf:
            expected = f"a finite {name} above {low:g}"
        raise ConfigError(f"expected {expected}, got {value!r} — change {_flag(name)}")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"expected {name} to be {' or '.join(choices)}, got {value!r} — change {_flag(name)}"
        )


def _flag(name: str) -> str:
    return "the dataset" if name == "vocab_size" else "--" + name.replace("_", "-")
