"""Errors of the command line itself, and the exit code that each kind of error ends with.

CliError
├── UsageError          what was typed cannot be meant
├── RoleFailed          a process of the run has failed, and with it the run
├── MetricsUnreadable   a run has no metrics, or none that can be read
└── ExtraMissing        a command needs packages that are not installed
"""

from coordinator.errors import (
    CoordinatorError,
    RunDirectoryError,
    RunDirectoryHeld,
    StatusNotLocal,
)
from engine.errors import ConfigError, EngineError
from wire.errors import AddressInUse, KeysError, TransportError, WireError

DONE, FAILURE, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 78, 130


class CliError(Exception):
    """The base of every error that the command line raises on purpose."""


class UsageError(CliError):
    """Raised when what was typed cannot be meant."""


class RoleFailed(CliError):
    """Raised when a process of the run has failed, and with it the run."""


class MetricsUnreadable(CliError):
    """Raised when a run has no metrics, or none that can be read."""


class ExtraMissing(CliError):
    """Raised when a command needs packages that are not installed."""


OUR_ERRORS = (CliError, EngineError, WireError, CoordinatorError)


def exit_code(error: Exception) -> int:
    """Say with which code a process ends that met this error."""
    if isinstance(error, RunDirectoryHeld | AddressInUse):
        return FAILURE
    usage = UsageError | ConfigError | TransportError | KeysError | RunDirectoryError
    if isinstance(error, usage | StatusNotLocal):
        return USAGE
    return FAILURE
