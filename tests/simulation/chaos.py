"""What befalls processes and their links, one blow after another, until quiet comes.

Prior art: FoundationDB's simulation and its "swizzle-clogging"; TigerBeetle's VOPR.
"""

from collections.abc import Callable
from typing import Protocol

from tests.simulation.coordinator_host import CoordinatorHost
from tests.simulation.network import Way
from tests.simulation.surroundings import Surroundings
from tests.simulation.worker_host import WorkerHost

LASTING_S = 0.5, 8.0  # how long a stall or a partition lasts


class Victims(Protocol):
    """The processes of a world, dead ones among them."""

    workers: list[WorkerHost]
    coordinator: CoordinatorHost | None


class Chaos:
    """The blows of one world."""

    def __init__(self, world: Surroundings, victims: Victims) -> None:
        self._clock = world.clock
        self._faults = world.faults
        self._network = world.network
        self._rng = world.faults.rng
        self._plan = world.plan
        self._victims = victims
        self._blows: list[tuple[str, Callable[[], bool]]] = [
            ("worker crash", lambda: self._on_worker(WorkerHost.crash)),
            ("stall", lambda: self._on_worker(lambda worker: worker.stall(self._lasting_s))),
            ("hang", lambda: self._on_worker(WorkerHost.hang)),
            ("leave", lambda: self._on_worker(WorkerHost.stop)),
            ("partition", lambda: self._on_worker(lambda worker: self._part(worker, set(Way)))),
            ("partition of one way", lambda: self._on_worker(self._part_one_way)),
            ("cut", self._network.cut),
            ("ghost", lambda: self._network.haunt(is_foreign=False)),
            ("foreign", lambda: self._network.haunt(is_foreign=True)),
            ("coordinator crash", lambda: self._on_coordinator(CoordinatorHost.crash)),
            ("coordinator stop", lambda: self._on_coordinator(CoordinatorHost.stop)),
            ("coordinator stall", lambda: self._on_coordinator(lambda c: c.stall(self._lasting_s))),
        ]

    def begin(self) -> None:
        self._clock.after(self._rng.expovariate(1 / self._plan.calm_s), self._strike)

    def _strike(self) -> None:
        if self._faults.are_over:
            return
        kind, blow = self._rng.choice(self._blows)
        if blow():
            self._faults.count(kind)
        self.begin()

    @property
    def _lasting_s(self) -> float:
        """Draw how long a blow lasts; it ends with chaos."""
        return min(self._rng.uniform(*LASTING_S), self._plan.quiet_s - self._clock.now)

    def _on_worker(self, blow: Callable[[WorkerHost], None]) -> bool:
        alive = [worker for worker in self._victims.workers if worker.is_alive]
        if alive:
            blow(self._rng.choice(alive))
        return bool(alive)

    def _on_coordinator(self, blow: Callable[[CoordinatorHost], None]) -> bool:
        coordinator = self._victims.coordinator
        if coordinator is None:
            return False
        blow(coordinator)
        return True

    def _part(self, worker: WorkerHost, ways: set[Way]) -> None:
        lasting_s = self._lasting_s
        directions = " and ".join(way.value for way in Way if way in ways)
        self._clock.say("network", f"parts from {worker.name}, {directions}, for {lasting_s:.1f} s")
        self._network.part(worker.name, ways, lasting_s)

    def _part_one_way(self, worker: WorkerHost) -> None:
        self._part(worker, {self._rng.choice(list(Way))})
