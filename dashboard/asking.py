"""The coordinator's status door, asked again and again through one connection.

Its address stands in the run directory while a coordinator runs, and is another one after each
start. Who does not answer in time is given up, and looked for anew the next time.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coordinator.errors import StatusUnreadable
from coordinator.status import Status
from coordinator.status import from_json as status_of
from coordinator.status_door import STATUS, TIMELINE
from dashboard import timeline
from dashboard.errors import TimelineUnreadable
from dashboard.timeline import Timeline
from wire.address import check_target, is_loopback
from wire.errors import TransportError
from wire.transport import Connection

ADDRESS_FILE = "status.address"
STIR_S = 0.05  # how long a wait may last before the clock is looked at


@dataclass(frozen=True, slots=True)
class Answers:
    """What a coordinator has answered; the timeline is None where it knows no such question."""

    status: Status
    timeline: Timeline | None


class Asker:
    """Who asks the coordinator of a run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._address_file = run_dir / ADDRESS_FILE
        self._connection: Connection | None = None
        self._address = ""
        self._knows_timeline = True

    def ask(self, within_s: float) -> Answers | None:
        """Ask both questions; None if nobody answers the first within so many seconds."""
        deadline_s = time.monotonic() + within_s
        connection = self._connect()
        if connection is None:
            return None
        for question in (STATUS, TIMELINE):
            connection.send([question])
        answers = self._hear(connection, deadline_s)
        if answers is None:
            self.close()
        return answers

    def close(self) -> None:
        """End the connection; the next question makes another."""
        if self._connection is not None:
            self._connection.close(linger_ms=0)
            self._connection = None

    def _connect(self) -> Connection | None:
        try:
            address = check_target(self._address_file.read_text().strip())
        except (OSError, UnicodeDecodeError, TransportError):
            address = ""
        if self._connection is not None and address == self._address:
            return self._connection
        self.close()
        self._address, self._knows_timeline = address, True
        if address and is_loopback(address):
            self._connection = Connection(address)
        return self._connection

    def _hear(self, connection: Connection, deadline_s: float) -> Answers | None:
        """Wait for both answers; without the second, go on with the first at the deadline."""
        status: Status | None = None
        steps: Timeline | None = None
        while time.monotonic() < deadline_s:
            changes = connection.changes()  # first: what was said before an end has come by then
            while (frames := connection.receive()) is not None:
                status, steps = _understood(frames[-1], status, steps)
            if status is not None and (steps is not None or not self._knows_timeline):
                break
            if any(not change.is_up for change in changes):
                break
            connection.wait(STIR_S)
        if status is None:
            return None
        self._knows_timeline = steps is not None
        return Answers(status, steps)


def _understood(
    data: bytes, status: Status | None, steps: Timeline | None
) -> tuple[Status | None, Timeline | None]:
    """Tell the answers apart by what they hold: the door echoes no question."""
    with suppress(ValueError, RecursionError, StatusUnreadable, TimelineUnreadable):
        values = json.loads(data)
        if isinstance(values, dict) and "members" in values:
            return status_of(data), steps
        return status, timeline.from_json(data)
    return status, steps
