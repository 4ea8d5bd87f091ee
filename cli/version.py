"""Which gradflock this is, and on what it runs."""

import platform
from importlib import metadata

import numpy as np


def _version() -> str:
    try:
        return metadata.version("gradflock")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "source"


VERSION = _version()


def versions() -> str:
    """Say it in one line, for a coordinator's log."""
    return f"gradflock {VERSION} python {platform.python_version()} numpy {np.__version__}"
