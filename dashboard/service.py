"""The dashboard's loop: it asks and reads for all pages at once, and only while somebody looks.

It is a process of its own, so that a page costs the training loop nothing but its answers: twice a
second one status and one timeline, for one page as for thirty. While nobody looks, nobody is asked;
the files are followed all the same, since checkpoints do not stay for ever.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dashboard.asking import Asker
from dashboard.drawings import Drawings
from dashboard.metrics_file import MetricsFile
from dashboard.picture import Picture
from dashboard.view import View

LOOK_S = 0.5  # from one look to the next while a page is open
IDLE_S = 2.0  # and while none is: for files alone
ANSWER_S = 1.0  # how long a coordinator may take; a stopped one is found out by then
DRAWINGS_PER_LOOK = 5  # a few milliseconds each
STOP_S = 0.1  # how late a stop is noticed
FRESH_S = 3.0  # how long who asks for a fresh view waits: a look that is under way, and its own
DRAIN_S = 2.0  # how long a stop waits for requests under way


class Door(Protocol):
    """Where pages come in, served by a thread of its own."""

    def tell(self) -> None:
        """Say that there is another view."""

    def drain(self) -> None:
        """Take no more; what is under way ends."""

    def join(self, timeout_s: float) -> bool:
        """Say whether nothing is under way any more; wait for that so long."""


class DashboardService:
    """One dashboard process; the door's thread reads `view`, and says who looks.

    Attributes:
        view: the newest; another object whenever anything has changed.
    """

    def __init__(self, run_dir: Path) -> None:
        self._asker = Asker(run_dir)
        self._metrics = MetricsFile(run_dir / "metrics.jsonl")
        self._drawings = Drawings(run_dir)
        self._picture = Picture(run_dir.resolve().name)
        self._pages = 0
        self._asked = False  # somebody waits for a fresh view
        self._ring = threading.Event()  # ends the loop's wait
        self._looked = threading.Condition()
        self._looked_s = -float("inf")
        self.view = View()

    # ---- for the door's thread ------------------------------------------------------------------

    def opened(self) -> None:
        """Note one more page."""
        self._pages += 1
        self._ring.set()

    def closed(self) -> None:
        self._pages -= 1

    def fresh(self) -> View:
        """Give a view that is not older than LOOK_S, or what there is if that takes too long."""
        with self._looked:
            before_s = self._looked_s
            if time.monotonic() - before_s >= LOOK_S:
                self._asked = True
                self._ring.set()
                self._looked.wait_for(lambda: self._looked_s != before_s, FRESH_S)
        return self.view

    # ---- the loop -------------------------------------------------------------------------------

    def serve(
        self,
        is_stopping: Callable[[], bool],
        open_door: Callable[["DashboardService"], Door],
    ) -> None:
        """Follow the run until stopped.

        Raises:
            AddressInUse, TransportError: the door's address cannot be bound.
        """
        door = open_door(self)
        followed_s = -float("inf")
        try:
            while not is_stopping():
                now_s = time.monotonic()
                is_due = now_s - self._looked_s >= LOOK_S
                if is_due and (self._pages or self._asked):
                    self._look()
                    self._show(door)
                    followed_s = now_s
                elif now_s - followed_s >= IDLE_S:
                    self._follow()
                    followed_s = now_s
                self._ring.wait(STOP_S)
                self._ring.clear()
        finally:
            self._asker.close()
            door.drain()
            door.join(DRAIN_S)

    def _look(self) -> None:
        self._asked = False
        answers = self._asker.ask(ANSWER_S)
        self._follow()
        # An address that a run has left behind may be another run's by now.
        if answers is not None and self._picture.run in ("", answers.status.run):
            self._picture.heard(answers.status, answers.timeline, time.monotonic())
        else:
            self._picture.missed()

    def _follow(self) -> None:
        """Read the lines first: those of a checkpoint are in the file before it is."""
        while (reading := self._metrics.read()).has_more:
            self._picture.read(reading)
        self._picture.read(reading)
        for _ in range(DRAWINGS_PER_LOOK):
            drawing = self._drawings.look()
            if drawing is None:
                break
            self._picture.drew(drawing)

    def _show(self, door: Door) -> None:
        with self._looked:
            self.view = self._picture.view(time.monotonic())
            self._looked_s = time.monotonic()
            self._looked.notify_all()
        door.tell()
