"""The engines by their names, as `--engine` and a run's configuration say them."""

from collections.abc import Callable

from engine.compiled import Compiled
from engine.config import ModelConfig
from engine.eager import Eager
from engine.gradient import Engine

_ENGINES: dict[str, Callable[[ModelConfig], Engine]] = {
    "eager": Eager,
    "compiled": Compiled,
}


def engine_of(name: str, model: ModelConfig) -> Engine:
    """Make the engine of that name, one of `engine.config.ENGINES`."""
    return _ENGINES[name](model)
