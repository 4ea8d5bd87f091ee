"""What a run's metrics.jsonl says, for whoever draws it or hands it on.

Only the contract is read (see `coordinator.metrics`), never the coordinator: so it costs the
training nothing, it works while a run grows and on runs that ended long ago. Runs of earlier
versions lack some fields. A last line without its end is still being written; any other that is no
line of a step may be what a crash has left, and is passed over with a complaint.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import MetricsUnreadable, UsageError
from coordinator.run_directory import RunDirectory


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


def metrics_path(run_dir: Path) -> Path:
    """Give where a run's metrics are.

    Raises:
        UsageError: there is no such run.
        MetricsUnreadable: it has none.
    """
    if not run_dir.is_dir():
        raise UsageError(
            f"expected the directory of a run, got none — {run_dir}; see ls runs, or train one"
        )
    path = RunDirectory(run_dir).metrics
    if not path.is_file():
        raise MetricsUnreadable(
            f"expected metrics.jsonl, got none — {run_dir};"
            " give the directory of a run that was trained"
        )
    return path


def read_run(run_dir: Path) -> tuple[list[Line], str]:
    """Give a run's lines in the order of steps, and what is wrong with its file; empty if nothing.

    Raises:
        UsageError: there is no such run.
        MetricsUnreadable: it has no line that can be read.
    """
    path = metrics_path(run_dir)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MetricsUnreadable(
            f"expected to read metrics, got {error.strerror} — {path}; make it readable"
        ) from None
    lines, damaged = parse_lines(content)
    if lines:
        return lines, complaint(path, damaged)
    if damaged:
        raise MetricsUnreadable(
            f"expected a JSON object for each step, got {len(damaged):,} that are none"
            f" — {path}:{damaged[0]}; give another run"
        )
    raise MetricsUnreadable(
        f"expected a line for each step, got none yet — {path}; wait for the run's first step"
    )


def parse_lines(content: bytes) -> tuple[list[Line], list[int]]:
    """Give the lines of whole steps, and the numbers of lines that are none, from 1.

    The first of a step counts, as it does for a run that is resumed.
    """
    found: dict[int, Line] = {}
    damaged = []
    rows = content.split(b"\n")
    for number, row in enumerate(rows[:-1], 1):  # what follows the last end is being written
        line = parse_line(row)
        if line is None:
            damaged.append(number)
        else:
            found.setdefault(line.step, line)
    return [found[step] for step in sorted(found)], damaged


def complaint(path: Path, damaged: Sequence[int]) -> str:
    """Say which lines were passed over, for people; empty if none was."""
    if not damaged:
        return ""
    more = f", and {len(damaged) - 1:,} more" if damaged[1:] else ""
    return f"passed over what is no line of a step — {path}:{damaged[0]}{more}"


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


def unique_names(run_dirs: Iterable[Path]) -> dict[Path, str]:
    """Name runs after their directories, with as much of their paths as tells them apart."""
    parts = {path: path.resolve().parts for path in run_dirs}
    distinct = {whole: path for path, whole in reversed(parts.items())}  # the first of each counts
    names = {}
    for path in (path for path in parts if distinct[parts[path]] is path):
        others = [other for other in distinct if other != parts[path]]
        length = 1
        while any(other[-length:] == parts[path][-length:] for other in others):
            length += 1
        names[path] = "/".join(parts[path][-length:])
    return names


def _numbers_in(values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        return {}
    return {str(name): float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
