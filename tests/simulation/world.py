"""One seeded world: a coordinator, its workers, a network, and chaos until quiet comes."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from engine.params import to_bytes, weights_sha256
from tests.simulation.arithmetic import oracle
from tests.simulation.broken import Broken
from tests.simulation.chaos import Chaos
from tests.simulation.checks import Checks
from tests.simulation.clock import Clock
from tests.simulation.coordinator_host import CoordinatorHost
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.network import Network
from tests.simulation.plan import CONTRIBUTORS, Kind, Plan, plan_of
from tests.simulation.surroundings import Surroundings
from tests.simulation.worker_host import WorkerHost

LIVENESS_S = 120.0  # after the last fault, the run ends within so much virtual time
CALLS_MAX = 100_000
DETAIL_MAX = 200  # characters of what broke a promise
JOIN_S = 0.1, 3.0  # until a worker that has ended is followed by another
RESTART_S = 0.1, 4.0
STUBBORN = 0.7  # probability that a liar that was found comes again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed.

    Attributes:
        broken: the promise that was broken, or None.
        step, detail: where, and by what.
        faults: how many of each kind were injected.
        told: how many facts of each kind the coordinators told.
        seen: how often what must be lived through was.
        exits: which workers left by themselves, and what they said.
        virtual_s: when it ended.
        weights_sha256: of the newest checkpoint, empty if there is none.
    """

    seed: int
    broken: str | None
    step: int
    detail: str
    faults: Counter[str]
    told: Counter[str]
    seen: Counter[str]
    exits: tuple[tuple[Kind, str | None], ...]
    virtual_s: float
    calls: int
    weights_sha256: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        """One line that says how to see it again."""
        if self.broken is None:
            return f"seed {self.seed} kept every promise"
        detail = f" ({self.detail[:DETAIL_MAX]})" if self.detail else ""
        return (
            f'seed {self.seed} broke "{self.broken}" at step {self.step}{detail}'
            f" — replay: make sim SEED={self.seed}"
        )


class World:
    """All processes of one seed, and what befalls them."""

    def __init__(self, plan: Plan, rng: random.Random, traces: bool) -> None:
        self._plan = plan
        self._rng = rng
        self.clock = Clock(traces)
        rates = {
            "lost": plan.loss,
            "duplicated": plan.duplication,
            "reordered": plan.reordering,
            "corrupted": plan.corruption,
            "save failed": plan.save_failure,
            "metrics refused": plan.save_failure / 4,
            "slow save": plan.slow_save,
            "other machine": plan.other_machine,
            "nan": plan.nan,
            "lie": plan.lie,
        }
        self.faults = Faults(rng, rates)
        self._network = Network(self.clock, self.faults, plan.latency_s)
        truth = oracle(plan.steps)
        self.checks = Checks(truth, self._network.owners, plan)
        self._here = Surroundings(self.clock, self.faults, self._network, self.checks, truth, plan)
        self._disk = Disk(rng.getrandbits(32))
        self.workers: list[WorkerHost] = []
        self._joined = 0
        self.coordinator: CoordinatorHost | None = None
        self.is_done = False

    @property
    def weights_sha256(self) -> str:
        newest = self._disk.newest
        return "" if newest is None else weights_sha256(to_bytes(newest.params))

    @property
    def step(self) -> int:
        """For people: how far the run had come."""
        return max(self._disk.durable_step, 0 if self.coordinator is None else self._open_step)

    @property
    def _open_step(self) -> int:
        assert self.coordinator is not None
        return self.coordinator.training.step

    def run(self) -> None:
        """Let everything happen.

        Raises:
            Broken: a promise was not kept.
        """
        plan, clock = self._plan, self.clock
        clock.after(self._rng.uniform(0, 1), self._start_coordinator)
        for _ in range(plan.workers):
            clock.after(self._rng.uniform(0, 1), self._join, Kind.HONEST)
        for _ in range(plan.liars):
            clock.after(self._rng.uniform(0, 1), self._join, Kind.LIAR)
        for kind in plan.strangers:
            clock.after(self._rng.uniform(0, 5), self._join, kind)
        Chaos(self._here, self).begin()
        clock.after(plan.quiet_s, self._become_quiet)
        deadline_s = plan.quiet_s + LIVENESS_S
        while not self.is_done:
            if clock.now > deadline_s or clock.calls > CALLS_MAX:
                raise Broken(f"the run ends within {LIVENESS_S:g} s of the last fault", self.step)
            clock.advance()
            self._look_after_coordinator()
            self._look_after_workers()

    # ---- processes ---------------------------------------------------------------------------

    def _start_coordinator(self) -> None:
        self.coordinator = CoordinatorHost(self._here, self._disk)

    def _look_after_coordinator(self) -> None:
        """A coordinator that has ended is followed by another, unless the run is done."""
        coordinator = self.coordinator
        if coordinator is None or coordinator.is_alive:
            return
        if coordinator.is_finished and self.checks.is_done(coordinator.failure):
            self.is_done = True
            return
        self.coordinator = None
        self.clock.after(self._rng.uniform(*RESTART_S), self._start_coordinator)

    def _join(self, kind: Kind, name: str = "") -> None:
        self._joined += 1
        self.workers.append(WorkerHost(self._here, name or f"w{self._joined}", kind))
        if kind not in CONTRIBUTORS:
            self.faults.count(kind.value)

    def _look_after_workers(self) -> None:
        """Who has ended by chaos is followed by another, with a new name.

        A liar that was found may be stubborn, and come again under the name it had.
        """
        if all(worker.is_alive for worker in self.workers):
            return
        for worker in [worker for worker in self.workers if not worker.is_alive]:
            self.workers.remove(worker)
            has_left = worker.exit is not None and worker.exit.is_permanent
            was_found = has_left and worker.kind is Kind.LIAR
            name = worker.name if was_found else ""
            is_back = self._rng.random() < STUBBORN if was_found else True
            if worker.kind in CONTRIBUTORS and is_back:
                self.clock.after(self._rng.uniform(*JOIN_S), self._join, worker.kind, name)

    def _become_quiet(self) -> None:
        self.faults.are_over = True
        self.clock.say("world", "nothing fails from now on")


def simulate(
    seed: int, traces: bool = False, alter: Callable[[Plan], Plan] | None = None
) -> Outcome:
    """Live through one seed.

    Args:
        alter: changes what the seed has planned.
    """
    rng = random.Random(seed)
    plan = plan_of(rng)
    world = World(plan if alter is None else alter(plan), rng, traces)
    broken, step, detail = None, world.step, ""
    try:
        world.run()
    except Broken as error:
        broken, step, detail = error.promise, error.step, error.detail
    except Exception as error:  # whatever production code raises is its own bug
        broken, step, detail = "no exception leaves a state", world.step, _named(error)
    return Outcome(
        seed=seed,
        broken=broken,
        step=step,
        detail=detail,
        faults=world.faults.counts,
        told=world.checks.told,
        seen=world.checks.durability.seen,
        exits=tuple(world.checks.exits),
        virtual_s=world.clock.now,
        calls=world.clock.calls,
        weights_sha256=world.weights_sha256,
        trace=tuple(world.clock.trace or ()),
    )


def _named(error: Exception) -> str:
    """Say what has failed, and where."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} {error} in {where}"
