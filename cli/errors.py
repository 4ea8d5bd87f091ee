"""Errors of the command line itself, and the exit code that each kind of error ends with."""

from coordinator.errors import CoordinatorError, RunDirectoryError, RunDirectoryHeld
from engine.errors import ConfigError, EngineError
from wire.errors import AddressInUse, TransportError, WireError

DONE, FAILURE, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 78, 130

OUR_ERRORS = (EngineError, WireError, CoordinatorError)


class UsageError(EngineError):
    """Raised when what was typed cannot be meant."""


class RoleFailed(CoordinatorError):
    """Raised when a process that `train` started has failed, and with it the run."""


def exit_code(error: Exception) -> int:
    """Say with which code a process ends that met this error."""
    if isinstance(error, RunDirectoryHeld | AddressInUse):
        return FAILURE
    if isinstance(error, UsageError | ConfigError | TransportError | RunDirectoryError):
        return USAGE
    return FAILURE
