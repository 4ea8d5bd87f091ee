"""Which error ends a process with which code."""

import pytest

from cli.errors import OUR_ERRORS, RoleFailed, UsageError, exit_code
from coordinator.errors import (
    CheckpointCorrupt,
    CheckpointUnwritable,
    RunDirectoryError,
    RunDirectoryHeld,
)
from engine.errors import ConfigError, DatasetError, UnknownCharacter
from wire.errors import AddressInUse, MalformedFrame, TransportError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ConfigError("x"), 2),
        (RunDirectoryError("x"), 2),
        (TransportError("x"), 2),
        (RunDirectoryHeld("x"), 1),
        (AddressInUse("tcp://127.0.0.1:1"), 1),
        (DatasetError("x"), 1),
        (UnknownCharacter("x", "ab"), 1),
        (RoleFailed("x"), 1),
        (CheckpointCorrupt("x"), 1),
        (CheckpointUnwritable("x"), 1),
        (MalformedFrame("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_typed_wrong_is_two_and_what_went_wrong_is_one(
    error: Exception, code: int
) -> None:
    assert exit_code(error) == code
    assert isinstance(error, OUR_ERRORS)
