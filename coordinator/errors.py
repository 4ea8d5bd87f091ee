"""What can keep a coordinator from starting or saving.

CoordinatorError
├── RunDirectoryError   the run directory cannot be used as asked
│   └── RunDirectoryHeld    another coordinator is using it
├── CheckpointCorrupt   a checkpoint is not what its commit record says
├── CheckpointUnwritable  the disk refused a checkpoint
├── StatusNotLocal      others than this machine could ask how a run stands
└── StatusUnreadable    what answers is not a coordinator's status
"""


class CoordinatorError(Exception):
    """The base of every error that the coordinator raises on purpose."""


class RunDirectoryError(CoordinatorError):
    """Raised when a run directory holds something else than what was asked for."""


class RunDirectoryHeld(RunDirectoryError):
    """Raised when another coordinator holds the lock of a run directory."""


class CheckpointCorrupt(CoordinatorError):
    """Raised when a checkpoint's bytes or contents do not match its commit record."""


class CheckpointUnwritable(CoordinatorError):
    """Raised when the disk refuses a checkpoint; those before it are untouched."""


class StatusNotLocal(CoordinatorError):
    """Raised when others than this machine could reach the address that tells how a run stands."""


class StatusUnreadable(CoordinatorError):
    """Raised when an answer is not the status of a coordinator."""
