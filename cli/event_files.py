"""TensorBoard's event files: needs tensorboardX, which comes with the extra `tensorboard`.

A file is a row of records, each an Event: its wall time, its step, and scalars by their tags. What
a reader must forget, since the run went back, is told by the start of a session at that step; both
of TensorBoard's readers then drop what they have from it on. Scalars are float32 there.
"""

import re
import time
from pathlib import Path
from typing import Self

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from coordinator.metrics_line import Line

VERSION = "brain.Event:2"  # the first record of every file
NAME = "events.out.tfevents.{:017.6f}.gradflock"  # TensorBoard reads them in the order of names
OURS = re.compile(r"events\.out\.tfevents\.\d{10}\.\d{6}\.gradflock")


def scalars_of(line: Line) -> dict[str, float]:
    """Give what TensorBoard is to show of a step, by tag; what comes before a slash is a group."""
    known = {
        "loss": line.loss,
        "held_out_loss": line.held_out_loss,
        "learning_rate": line.learning_rate,
        "documents_per_second": line.documents / line.seconds if line.seconds > 0 else None,
        "seconds": line.seconds,
        "workers": line.workers,
        "bytes/sent": line.bytes_sent,
        "bytes/received": line.bytes_received,
        **{f"phases/{phase}": seconds for phase, seconds in line.phases.items()},
        **{f"grad_norms/{matrix}": norm for matrix, norm in line.grad_norms.items()},
    }
    return {tag: float(value) for tag, value in known.items() if value is not None}


class EventFile:
    """One new event file in a directory, in place of those that this command wrote there before."""

    def __init__(self, directory: Path) -> None:
        """Make the file.

        Raises:
            OSError: the directory cannot be written to.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            if OURS.fullmatch(path.name):
                path.unlink()
        self._writer = RecordWriter(str(directory / NAME.format(time.time())))
        self._add(Event(wall_time=time.time(), file_version=VERSION))

    def write(self, line: Line, wall_s: float) -> None:
        """Add what is known of a step, which was applied at `wall_s` of the clock."""
        values = [
            Summary.Value(tag=tag, simple_value=value) for tag, value in scalars_of(line).items()
        ]
        self._add(Event(wall_time=wall_s, step=line.step, summary=Summary(value=values)))

    def forget_from(self, step: int, wall_s: float) -> None:
        """Have readers drop every step from this one on."""
        start = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=wall_s, step=step, session_log=start))

    def flush(self) -> None:
        """Show readers all that was written."""
        self._writer.flush()

    def _add(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
