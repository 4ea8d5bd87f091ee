"""What a trial has measured: shown at the end of the session, and kept as JSON for the README."""

import json
import statistics
from pathlib import Path


class Figures:
    """Seconds by name, of one test."""

    def __init__(self, test: str) -> None:
        self._test = test
        self._seconds: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        self._seconds.setdefault(name, []).append(seconds)

    def lines(self) -> list[str]:
        return [
            f"{name}: {len(values)} times, median {statistics.median(values):.3f} s,"
            f" worst {max(values):.3f} s ({self._test})"
            for name, values in self._seconds.items()
        ]

    def keep(self, directory: Path) -> None:
        """Write every value, unless there is none."""
        if self._seconds:
            path = directory / f"{self._test}.json"
            path.write_text(json.dumps(self._seconds, indent=1) + "\n")
