"""What a run's metrics.jsonl says, for whoever draws it or hands it on.

Only the contract is read, never the coordinator: so it costs the training nothing, it works while a
run grows and on runs that ended long ago. A last line without its end is still being written; any
other that is no line of a step may be what a crash has left, and is passed over with a complaint.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cli.errors import MetricsUnreadable, UsageError
from coordinator.metrics_line import Line, parse_line
from coordinator.run_directory import RunDirectory


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
