"""What an examination gives: facts under a title, and what is to be thought of them."""

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is fine, may cost something, or keeps something from working.

    Attributes:
        text: what was found and, unless it is fine, what to do.
    """

    level: Level
    text: str


@dataclass(slots=True)
class Section:
    """One part of what was looked at."""

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def find(self, level: Level, text: str) -> None:
        """Add what is to be thought of a fact."""
        self.findings.append(Finding(level, text))


def bytes_text(count: float) -> str:
    """Give a number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.4g} {unit}" if unit != "bytes" else f"{count:,.0f} bytes"
        count /= 1024
    return f"{count:,.4g} GiB"
