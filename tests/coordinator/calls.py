"""What a block asks of the disk, in order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Write down what is renamed (to what), removed, and synced, by the names of the files."""
    calls: list[str] = []
    names: dict[int, str] = {}
    originals = {name: getattr(os, name) for name in ("open", "rename", "unlink", "fsync")}

    def opened(path: Any, *arguments: Any, **others: Any) -> int:
        descriptor: int = originals["open"](path, *arguments, **others)
        names[descriptor] = Path(path).name
        return descriptor

    def renamed(source: Any, target: Any) -> None:
        originals["rename"](source, target)
        calls.append(f"rename {Path(target).name}")

    def unlinked(path: Any) -> None:
        originals["unlink"](path)
        calls.append(f"unlink {Path(path).name}")

    def synced(descriptor: int) -> None:
        originals["fsync"](descriptor)
        calls.append(f"fsync {names[descriptor]}")

    with pytest.MonkeyPatch.context() as patch:
        for name, function in zip(originals, (opened, renamed, unlinked, synced), strict=True):
            patch.setattr(os, name, function)
        yield calls
