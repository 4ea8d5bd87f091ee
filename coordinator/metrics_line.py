"""One line of metrics.jsonl, for whoever reads it; the contract is in `coordinator.metrics`.

Runs of earlier versions lack some fields.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One step of a run; what its version did not write is None or empty.

    Attributes:
        step: updates applied, from 1.
        loss: mean over the global batch, in nats.
        held_out_loss: in nats; None as well where it was not finite.
        phases: seconds of the step, by what it spent them on.
        grad_norms: by the name of the matrix.
    """

    step: int
    loss: float
    documents: int
    seconds: float
    workers: int | None = None
    learning_rate: float | None = None
    held_out_loss: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    grad_norms: Mapping[str, float] = field(default_factory=dict)


def parse_line(row: bytes) -> Line | None:
    """Read one line; None if it is not that of a step."""
    try:
        values = json.loads(row)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    numbers = {name: value for name, value in values.items() if _is_number(value)}
    whole = {name: value for name, value in numbers.items() if isinstance(value, int)}
    if not {"loss", "seconds"} <= numbers.keys() or not {"step", "documents"} <= whole.keys():
        return None
    if whole["step"] < 1:
        return None
    return Line(
        step=whole["step"],
        loss=float(numbers["loss"]),
        documents=whole["documents"],
        seconds=float(numbers["seconds"]),
        workers=whole.get("workers"),
        learning_rate=numbers.get("learning_rate"),
        held_out_loss=numbers.get("held_out_loss"),
        bytes_sent=whole.get("bytes_sent"),
        bytes_received=whole.get("bytes_received"),
        phases=_numbers_in(values.get("phases")),
        grad_norms=_numbers_in(values.get("grad_norms")),
    )


def _numbers_in(values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        return {}
    return {str(name): float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
