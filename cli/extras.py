"""What optional commands need: imported when one is asked for, and one line if it is not there."""

from importlib import import_module
from typing import Any

from cli.errors import ExtraMissing

OURS = "cli"


def load(place: str, extra: str) -> Any:
    """Give what is at `module:name`, whose module imports the packages of an extra.

    Raises:
        ExtraMissing: they are not installed.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == OURS:
            raise
        raise ExtraMissing(
            f"expected {package}, got no such package — gradflock {extra};"
            f" pip install 'gradflock[{extra}]'"
        ) from None
