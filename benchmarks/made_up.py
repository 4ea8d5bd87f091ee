"""Messages with values that nobody reads, for whoever measures how messages travel."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")

NOTHING_MUCH = {str: "5f" * 32, int: 1, float: 0.0, bool: True}  # the text is as long as a digest


def made_up(kind: type[T], **known: Any) -> T:
    """Make a message of a kind; each field that is not given has some value of its type."""
    values: dict[str, Any] = {
        field.name: NOTHING_MUCH[field.type]  # type: ignore[index]
        for field in fields(kind)  # type: ignore[arg-type]
        if field.default is MISSING
    }
    return kind(**{**values, **known})


def carrying(kind: type[T], carried: bytes, **known: Any) -> T:
    """Make a message with that many bytes behind its header: its last field has them."""
    name = fields(kind)[-1].name  # type: ignore[arg-type]
    return made_up(kind, **known, **{name: carried})
