"""One simulated coordinator process, in the order of coordinator/service.py, and its disk."""

import math
import random
from collections import deque
from collections.abc import Callable

import numpy as np

from coordinator import events
from coordinator.effects import (
    Continue,
    Effect,
    Evaluate,
    Finish,
    GoBack,
    Hold,
    Probe,
    Recompute,
    Save,
    Send,
    Tell,
)
from coordinator.evaluations import Evaluations
from coordinator.leases import BranchSum
from coordinator.settings import Settings
from coordinator.state import CoordinatorState
from coordinator.training import Training
from engine.branch import sum_branch
from engine.fingerprint import fingerprint
from engine.optimizer import Moments
from engine.params import to_bytes
from tests.simulation.arithmetic import Oracle
from tests.simulation.disk import Disk
from tests.simulation.durability import NO_ROOM
from tests.simulation.network import Frames
from tests.simulation.said import Said
from tests.simulation.saving_host import SavingHost
from tests.simulation.surroundings import Surroundings
from wire.codec import decode, encode
from wire.errors import MalformedFrame, VersionMismatch

WAIT_S = 0.5  # of a quiet loop; the real one looks five times as often
BESIDE_S = 0.02, 1.5  # how long a computation beside the loop takes
LOSSES_MAX_DEADLY = 3
LOSSES_MAX = 1000  # here workers die of chaos, and nobody's document is to blame
OTHER_FINGERPRINT = "0" * 64  # of a machine that rounds otherwise; strangers have the same
RUN = "5f" * 16


class CoordinatorHost:
    """One process: one generation of the run.

    Attributes:
        is_finished: it has left by itself.
        failure: of its Finish.
    """

    def __init__(self, world: Surroundings, disk: Disk) -> None:
        self.is_alive = True
        self.is_finished = False
        self.failure: str | None = None
        self.name = f"coordinator-{disk.generation + 1}"
        self._world = world
        self._plan = world.plan
        self._disk = disk
        self._clock = world.clock
        self._rng = world.faults.rng
        self._inbox: deque[tuple[bytes, Frames]] = deque()
        self._departed: list[bytes] = []
        self._computed: deque[events.Event] = deque()  # answers of what is computed beside the loop
        self._saving = SavingHost(world, disk, lambda: self._wake(0.0))
        self._is_stopping = False
        self._busy_until_s = 0.0
        self._beside_until_s = 0.0
        self._wake_s = math.inf
        disk.generation += 1
        self.state = self._make_state()
        world.checks.begin(self.state, RUN, disk, self._clock.now, self._rounds_otherwise)
        world.network.listen(self)
        self._clock.say(self.name, f"starts at step {self.training.step}")
        self._handle(events.Started())
        self._wake(0.0)

    def _make_state(self) -> CoordinatorState:
        oracle, disk, plan = self._world.oracle, self._disk, self._plan
        saved = disk.newest or _beginning(oracle)
        self._rounds_otherwise = bool(saved.fingerprint) and self._is_elsewhere()
        start = saved.step, saved.params, saved.moments, saved.loss
        losses_max = LOSSES_MAX if plan.deadly_step is None else LOSSES_MAX_DEADLY
        self.training = Training(oracle.run, oracle.engine, *start)
        return CoordinatorState(
            training=self.training,
            work=oracle.run.work,
            settings=Settings(
                plan.every,
                losses_max=losses_max,
                audit=plan.audit,
                unsaved_max=plan.unsaved_max,
            ),
            run=RUN,
            gen=disk.generation,
            durable_step=disk.durable_step,
            rng=random.Random(disk.seed),
            evaluations=Evaluations(plan.has_held_out),
            contributors=saved.contributors,
            fingerprint=saved.fingerprint,
            clock=lambda: self._clock.now,
        )

    def _is_elsewhere(self) -> bool:
        """Draw whether this generation runs on a machine that rounds otherwise."""
        strikes = self._world.faults.strikes("other machine")
        if strikes:
            self._world.faults.count("other machine")
        return strikes

    # ---- what chaos does ---------------------------------------------------------------------

    def crash(self) -> None:
        self._clock.say(self.name, "is killed")
        self._saving.kill()
        self._end()

    def stall(self, seconds: float) -> None:
        self._clock.say(self.name, f"stalls for {seconds:.1f} s")
        self._busy_until_s = max(self._busy_until_s, self._clock.now + seconds)

    def stop(self) -> None:
        self._clock.say(self.name, "is asked to stop")
        self._is_stopping = True
        self._wake(0.0)

    def _end(self) -> None:
        self.is_alive = False
        self._world.network.stop_listening()

    # ---- what the network does ---------------------------------------------------------------

    def arrive(self, peer: bytes, frames: Frames) -> None:
        self._inbox.append((peer, frames))
        self._wake(0.0)

    def depart(self, peer: bytes) -> None:
        self._departed.append(peer)
        self._wake(0.0)

    # ---- the loop ----------------------------------------------------------------------------

    def _wake(self, delay_s: float) -> None:
        """Have a turn then, or earlier."""
        at_s = max(self._clock.now + delay_s, self._busy_until_s)
        if at_s < self._wake_s:
            self._wake_s = at_s
            self._clock.after(at_s - self._clock.now, self._turn_if_due, at_s)

    def _turn_if_due(self, at_s: float) -> None:
        if not self.is_alive or at_s != self._wake_s:
            return
        self._wake_s = math.inf
        if self._clock.now < self._busy_until_s:  # it was stalled meanwhile
            self._wake(0.0)
            return
        self._take_turn()
        if self.is_alive:
            self._wake(0.0 if self._inbox or self._departed else WAIT_S)

    def _take_turn(self) -> None:
        """Do what a turn of the loop does."""
        while self._inbox:
            self._handle(_event(*self._inbox.popleft()))
        while self._departed:
            self._handle(events.Departed(self._departed.pop(0)))
        for answers in (self._computed, self._saving.answers):
            while answers:
                self._handle(answers.popleft())
        self._handle(events.Ticked())
        if self._is_stopping:
            self._handle(events.StopAsked())

    def _handle(self, event: events.Event) -> None:
        checks = self._world.checks
        pending = deque([event])
        while pending and self.is_alive:
            event = pending.popleft()
            checks.before(event)
            effects = self.state.handle(event, self._clock.now)
            if Continue() in effects:  # a commit and what follows from it
                place = effects.index(Continue())
                effects[place : place + 1] = self.state.handle(events.Continued(), self._clock.now)
            checks.after(event, effects, self._clock.now)
            for effect in effects:
                pending += self._perform(effect)

    # ---- effects -----------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> list[events.Event]:
        """Do what was asked for, and give what came of it."""
        match effect:
            case Send(peer, message):
                self._clock.say(self.name, Said(self._world.network.owners[peer].name, message))
                if not self._world.network.send_down(peer, encode(message)):
                    self._departed.append(peer)
            case Save():
                return self._save(effect)
            case Evaluate(step):
                self._beside(lambda: events.Evaluated(step, 2.0 + step))
            case Hold():
                pass  # there are no metrics here
            case Probe():
                self._beside(self._probed)
            case Recompute():
                self._clock.say(self.name, f"recomputes {effect.branch}")
                self._beside(lambda: self._recomputed(effect))
            case GoBack(step):
                self._clock.say(self.name, f"goes back to step {step}")
                self._saving.ask_back(lambda: self._went_back(step))
            case Tell(fact):
                self._clock.say(self.name, f"% {fact}")
            case Finish(failure):
                self._clock.say(self.name, f"finishes: {failure or 'well'}")
                self.failure = failure
                self.is_finished = True
                self._saving.leave()
                self._end()
        return []

    def _save(self, save: Save) -> list[events.Event]:
        if self._world.faults.strikes("metrics refused"):
            self._world.faults.count("metrics refused")
            return [events.SaveFailed(save.step, NO_ROOM)]
        self._clock.say(self.name, f"saves step {save.step}")
        self._saving.ask(save)
        return [events.SaveBegan(0.0)]

    def _went_back(self, step: int) -> events.Event:
        if self._world.faults.strikes("save failed"):
            self._world.faults.count("going back failed")
            return events.GoBackFailed(NO_ROOM)
        self._disk.revoke_after(step)
        save = self._disk.newest or _beginning(self._world.oracle)
        return events.WentBack(
            save.step, save.params, save.moments, save.loss, self._disk.durable_step
        )

    # ---- beside the loop ---------------------------------------------------------------------

    def _beside(self, answer: Callable[[], events.Event]) -> None:
        """Compute in a thread, one thing after another."""
        begins_s = max(self._beside_until_s, self._clock.now)
        self._beside_until_s = begins_s + self._rng.uniform(*BESIDE_S)
        self._clock.after(self._beside_until_s - self._clock.now, self._end_beside, answer)

    def _end_beside(self, answer: Callable[[], events.Event]) -> None:
        if self.is_alive:
            self._computed.append(answer())
            self._wake(0.0)

    def _probed(self) -> events.Event:
        oracle = self._world.oracle
        ours = fingerprint(oracle.engine, oracle.run.model)
        return events.Probed(OTHER_FINGERPRINT if self._rounds_otherwise else ours)

    def _recomputed(self, asked: Recompute) -> events.Event:
        oracle = self._world.oracle
        one = sum_branch(
            oracle.engine, oracle.run.work, asked.params, asked.documents, asked.branch
        )
        grad = np.frombuffer(to_bytes(one.grad), dtype="<f8")
        return events.Recomputed(asked.dispute, BranchSum(one.loss, grad))


def _beginning(oracle: Oracle) -> Save:
    """The run before its first step, in the form of a save."""
    run = oracle.run
    return Save(0, run.params, Moments.zeros(run.model.num_params), None, {}, "")


def _event(peer: bytes, frames: Frames) -> events.Event:
    try:
        return events.Received(peer, decode(frames))
    except VersionMismatch as error:
        return events.StrangerArrived(peer, str(error))
    except MalformedFrame as error:
        return events.Garbled(peer, str(error))
