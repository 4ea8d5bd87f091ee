"""The thread in which a simulated coordinator saves, as coordinator/beside.py runs it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from coordinator import events
from coordinator.effects import Save
from tests.simulation.disk import Disk
from tests.simulation.durability import NO_ROOM
from tests.simulation.surroundings import Surroundings

SLOW_S = 2.0, 30.0  # what a save may take now and then: a stop waits for 8 s of it, and no longer
VERY_SLOW_S = 40.0  # a save of more than 30 s counts as one that fails
END_S = 1.0  # that a coordinator which leaves waits for a save that nobody awaits
LEFT_BEHIND = 0.3  # probability that a save which fails has its record down all the same


@dataclass(eq=False, slots=True)
class Write:
    """A save from its beginning to its end.

    Attributes:
        down_s: when its record is on disk, whatever comes after; None if it never will be.
        ends_s: when it answers.
        is_down: the record is on disk.
    """

    save: Save
    down_s: float | None
    ends_s: float
    answer: events.Saved | events.SaveFailed
    is_down: bool = False


@dataclass(eq=False, slots=True)
class Return:
    """Going back, from its beginning to its end.

    Attributes:
        perform: revokes, and gives the answer.
    """

    ends_s: float
    perform: Callable[[], events.Event]


class SavingHost:
    """One save after another, or a way back, until the process ends.

    Attributes:
        answers: what has come of saves, and was not taken yet.
    """

    def __init__(self, world: Surroundings, disk: Disk, wake: Callable[[], None]) -> None:
        """Begin with nothing to save.

        Args:
            wake: called after each answer.
        """
        self._clock = world.clock
        self._faults = world.faults
        self._rng = world.faults.rng
        self._save_s = world.plan.save_s
        self._disk = disk
        self._wake = wake
        self._jobs: deque[Write | Return] = deque()
        self._is_over = False
        self.answers: deque[events.Event] = deque()

    def ask(self, save: Save) -> None:
        """Have a step saved after those before it."""
        began_s = self._free_s
        took_s = self._draw_seconds()
        down_s: float | None = began_s + self._rng.uniform(0, took_s)
        answer: events.Saved | events.SaveFailed = events.Saved(save.step, took_s)
        if self._faults.strikes("save failed"):
            self._faults.count("save failed")
            answer = events.SaveFailed(save.step, NO_ROOM)
            if self._rng.random() < LEFT_BEHIND:
                self._faults.count("record of a failed save")
            else:
                down_s = None
        write = Write(save, down_s, began_s + took_s, answer)
        self._jobs.append(write)
        if down_s is not None:
            self._clock.at(down_s, self._put, write)
        self._clock.at(write.ends_s, self._end, write)

    def ask_back(self, perform: Callable[[], events.Event]) -> None:
        """Have the run go back after what is under way."""
        way = Return(self._free_s + self._draw_seconds(), perform)
        self._jobs.append(way)
        self._clock.at(way.ends_s, self._end, way)

    @property
    def _free_s(self) -> float:
        """When everything is done."""
        return self._jobs[-1].ends_s if self._jobs else self._clock.now

    def kill(self) -> None:
        """The process is gone at once."""
        for write in self._writes:
            where = "after" if write.is_down else "before"
            self._faults.count(f"killed {where} the record")
        self._is_over = True

    def leave(self) -> None:
        """The process ends, and the thread with it, a moment later."""
        for write in self._writes:
            if write.down_s is not None and write.down_s <= self._clock.now + END_S:
                self._put(write)
        self._is_over = True

    def _draw_seconds(self) -> float:
        if not self._faults.strikes("slow save"):
            return self._rng.uniform(0, 2 * self._save_s)
        self._faults.count("slow save")
        return self._rng.choice((self._rng.uniform(*SLOW_S), VERY_SLOW_S))

    def _put(self, write: Write) -> None:
        if not self._is_over and not write.is_down:
            write.is_down = True
            self._disk.put(write.save)

    @property
    def _writes(self) -> list[Write]:
        return [job for job in self._jobs if isinstance(job, Write)]

    def _end(self, job: Write | Return) -> None:
        if self._is_over:
            return
        self._jobs.remove(job)
        self.answers.append(job.answer if isinstance(job, Write) else job.perform())
        self._wake()
