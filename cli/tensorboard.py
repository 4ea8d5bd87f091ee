"""`gradflock tensorboard`: runs as TensorBoard shows them.

Only metrics.jsonl is read: so it costs the training nothing, and works on runs that ended long ago.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from cli.extras import load
from cli.holder import holder_of
from cli.metrics_lines import metrics_path, read_run, unique_names
from cli.metrics_tail import Tail
from cli.options import newest_run_dir, option
from cli.view import say
from coordinator.run_directory import RunDirectory

FOLLOW_S = 1.0  # from one look to the next
SUBDIRECTORY = "tensorboard"  # of a run


@click.command()
@click.argument(
    "runs", nargs=-1, metavar="[RUN]...", type=click.Path(file_okay=False, path_type=Path)
)
@option(
    "--logdir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write to DIR/<name of the run>; by default to RUN/tensorboard.",
)
@option("--follow", is_flag=True, help="Go on while a run grows, until its coordinator is gone.")
def tensorboard(runs: Sequence[Path], logdir: Path | None, follow: bool) -> None:
    """Write event files of runs (by default the newest under ./runs) for TensorBoard.

    Steps are updates applied. What was written for a run before is replaced. Needs tensorboardX:
    pip install 'gradflock[tensorboard]'.
    """
    names = unique_names(runs or [newest_run_dir()])
    for run_dir in names:
        if not (follow and holder_of(run_dir)):
            metrics_path(run_dir)
        if not follow:
            read_run(run_dir)
    event_file: Callable[[Path], Any] = load("cli.event_files:EventFile", "tensorboard")
    with ExitStack() as stack:
        followed = []
        for run_dir, name in names.items():
            directory = run_dir / SUBDIRECTORY if logdir is None else logdir / name
            file = stack.enter_context(event_file(directory))
            followed.append(Followed(run_dir, file))
            say(f"{name}: events in {directory}")
        while followed:
            followed = [run for run in followed if run.write_new() and follow]
            if followed:
                time.sleep(FOLLOW_S)


class Followed:
    """A run and its event file."""

    def __init__(self, run_dir: Path, file: Any) -> None:
        """Follow a run; the file is a `cli.event_files.EventFile`."""
        self._run_dir = run_dir
        self._tail = Tail(RunDirectory(run_dir).metrics)
        self._file = file
        self._walls_s: dict[int, float] = {}  # when each step was applied, about

    def write_new(self) -> bool:
        """Write what is new; say whether there may be more."""
        is_held = holder_of(self._run_dir) is not None  # first: it may write its last line, and go
        back, lines = self._tail.read()
        if self._tail.complaint:
            say(self._tail.complaint)
        if back is not None:
            self._walls_s = {step: at_s for step, at_s in self._walls_s.items() if step < back}
            self._file.forget_from(back, time.time())
        at_s = self._start_s([line.seconds for line in lines])
        for line in lines:
            at_s += line.seconds
            self._walls_s[line.step] = at_s
            self._file.write(line, at_s)
        self._file.flush()
        return is_held or bool(lines)

    def _start_s(self, seconds: Sequence[float]) -> float:
        """Give the time before the first of some new lines: after the known, or before the newest.

        Lines know how long a step took and not when; the file's own time is that of the last.
        """
        if self._walls_s or not seconds:
            return max(self._walls_s.values(), default=0.0)
        return RunDirectory(self._run_dir).metrics.stat().st_mtime - sum(seconds)
