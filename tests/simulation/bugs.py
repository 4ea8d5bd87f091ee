"""The changes that mutants are made of: each gives a faulty replacement of a production method."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

from coordinator.admissions import Admissions
from coordinator.audits import Audits, Verdict
from coordinator.effects import Effect, GoBack, Tell
from coordinator.facts import CheckpointDurable
from coordinator.leases import Board, BranchSum, Lease
from coordinator.members import Member
from coordinator.outbox import Outbox
from coordinator.phases import Phase, Phases
from coordinator.saves import Saves
from coordinator.state import CoordinatorState
from coordinator.training import Training
from engine.tree import Branch
from wire.digest import DIGEST_BYTES
from wire.messages import NONFINITE, FromMember, Grad, Message, Ready, Task, Who
from worker.state import WorkerState

# ---- counting -----------------------------------------------------------------------------------


def count_again(original: Callable[..., list[Lease]]) -> Callable[..., list[Lease]]:
    def count(self: Board, branch: Branch, branch_sum: BranchSum, by: str) -> list[Lease]:
        known = self._sums.pop(branch, None)
        return original(self, branch, branch_sum if known is None else known.plus(branch_sum), by)

    return count


def never_summed(original: object) -> Callable[..., bool]:
    return lambda self, branch: False


def summed_unless_hedged(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_summed(self: Board, branch: Branch) -> bool:
        return original(self, branch) and branch not in getattr(self, "hedged", ())

    return is_summed


def note_hedge(original: Callable[..., Lease | None]) -> Callable[..., Lease | None]:
    def hedge(self: Board, *args: Any) -> Lease | None:
        lease = original(self, *args)
        if lease is not None:
            self.hedged = {*getattr(self, "hedged", ()), lease.branch}  # type: ignore[attr-defined]
        return lease

    return hedge


def as_they_came(original: object) -> Callable[..., BranchSum]:
    return lambda self, num_shards: reduce(BranchSum.plus, self._sums.values())


def judged_as_of_now(original: Callable[..., str]) -> Callable[..., str]:
    def judge(self: Training, grad: Grad) -> str:
        now = replace(grad, step=self.step, params_digest=self.params_digest)
        return original(self, now)

    return judge


def judged_by_step_alone(original: Callable[..., str]) -> Callable[..., str]:
    return lambda self, grad: original(self, replace(grad, params_digest=self.params_digest))


def number_or_not(original: Callable[..., str]) -> Callable[..., str]:
    def judge(self: Training, grad: Grad) -> str:
        status = original(self, grad)
        return "" if status == NONFINITE else status

    return judge


def always_untouched(original: Callable[..., list[Lease]]) -> Callable[..., list[Lease]]:
    def count(self: Board, *args: Any) -> list[Lease]:
        leases = original(self, *args)
        self.is_untouched = True
        return leases

    return count


# ---- sessions -----------------------------------------------------------------------------------


def of_run_alone(original: object) -> Callable[..., bool]:
    def is_ours(self: Outbox, message: FromMember) -> bool:
        return message.run == self.run

    return is_ours


def of_generation_alone(original: object) -> Callable[..., bool]:
    def is_ours(self: Outbox, message: FromMember) -> bool:
        return message.gen == self.gen

    return is_ours


def of_peer(original: object) -> Callable[..., Member | None]:
    return lambda self, peer, sid: self.of_peer(peer)


def deaf_to_who(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def on_message(self: WorkerState, message: Message, now: float) -> list[Any]:
        return [] if isinstance(message, Who) else original(self, message, now)

    return on_message


def params_as_they_are(original: object) -> Callable[..., bytes]:
    return lambda kind, values, params: params


def digest_of_nothing(original: object) -> Callable[..., bytes]:
    return lambda header, payload: bytes(DIGEST_BYTES)


# ---- leases -------------------------------------------------------------------------------------


def nothing_freed(original: object) -> Callable[..., int]:
    return lambda self, member: 0


def no_death(original: object) -> Callable[..., None]:
    return lambda self, member: None


def never(original: object) -> property:
    return property(lambda self: math.inf)


def one_more(original: int) -> int:
    return original + 1


def hedged_again(original: object) -> Callable[..., Lease | None]:
    def hedge(self: Board, lease_id: int, holder: str, now: float, *_: object) -> Lease | None:
        open_ones = [b for b in self._branches if b not in self._sums and self.leases_of(b)]
        return self._lease(lease_id, open_ones[0], holder, now) if open_ones else None

    return hedge


def first_dropped(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def on_cancel(self: WorkerState, lease: int, now: float) -> list[Any]:
        current = self._current
        return original(self, lease if current is None else current.task.lease, now)

    return on_cancel


def old_params(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def on_task(self: WorkerState, task: Task, now: float) -> list[Any]:
        if self._params is not None and task.params:
            self._params_digest = task.params_digest
            task = replace(task, params=b"")
        return original(self, task, now)

    return on_task


# ---- saves --------------------------------------------------------------------------------------


def durable_at_once(original: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Saves, step: int, now: float) -> None:
        original(self, step, now)
        self.durable_step = step

    return begin


def durable_though_failed(original: Callable[..., None]) -> Callable[..., None]:
    def fail(self: Saves, step: int, reason: str, now: float) -> None:
        original(self, step, reason, now)
        self.durable_step = step

    return fail


def believed_on_the_way_back(original: Callable[..., list[Effect]]) -> Callable[..., list[Effect]]:
    def on_saved(self: Phases, step: int, seconds: float, now: float) -> list[Effect]:
        if not self._is_going_back:
            return original(self, step, seconds, now)
        self._saves.durable_step = step
        return [Tell(CheckpointDurable(step, seconds, 0))]

    return on_saved


def training_on_the_way_back(original: object) -> property:
    return property(lambda self: self.phase is Phase.TRAINING)


def never_late(original: object) -> Callable[..., list[Effect]]:
    return lambda self, now: []


def due_at_any_time(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_due(self: Saves, step: int, now: float) -> bool:
        pending_step, self.pending_step = self.pending_step, None
        due = original(self, step, now)
        self.pending_step = pending_step
        return due

    return is_due


def begun_at_any_time(original: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Saves, step: int, now: float) -> None:
        self.pending_step = None
        original(self, step, now)

    return begin


def due_once(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_due(self: Saves, step: int, now: float) -> bool:
        if self.pending_step is not None:
            self._begun_step = step
        return original(self, step, now)

    return is_due


def no_risk(original: object) -> Callable[..., str]:
    return lambda self, step, now: ""


def for_ever(original: float) -> float:
    return math.inf


def left_at_once(original: Callable[..., list[Effect]]) -> Callable[..., list[Effect]]:
    def leave_if_saved(self: Phases, now: float) -> list[Effect]:
        effects = original(self, now)
        return effects + self._left() if self.phase is Phase.LEAVING else effects

    return leave_if_saved


def any_arithmetic(original: Callable[..., list[Effect]]) -> Callable[..., list[Effect]]:
    def on_probed(self: CoordinatorState, fingerprint: str, now: float) -> list[Effect]:
        self._fingerprint = fingerprint
        return original(self, fingerprint, now)

    return on_probed


def still_pending(original: Callable[..., None]) -> Callable[..., None]:
    def go_back(self: Saves, durable_step: int) -> None:
        pending_step = self.pending_step
        original(self, durable_step)
        self.pending_step = pending_step

    return go_back


def done_too_early(original: Callable[..., list[Effect]]) -> Callable[..., list[Effect]]:
    def go_on(self: Phases, now: float) -> list[Effect]:
        disputes, self._audits.disputes = self._audits.disputes, {}
        effects = original(self, now)
        self._audits.disputes = disputes
        return effects

    return go_on


# ---- audit and admission ------------------------------------------------------------------------


def never_disputed(original: Callable[..., Verdict]) -> Callable[..., Verdict]:
    def weigh(self: Audits, *args: Any) -> Verdict:
        verdict = original(self, *args)
        return Verdict.COUNT if verdict is Verdict.DISPUTE else verdict

    return weigh


def answered_alone(original: Callable[..., Verdict]) -> Callable[..., Verdict]:
    def weigh(self: Audits, *args: Any) -> Verdict:
        verdict = original(self, *args)
        return Verdict.COUNT if verdict is Verdict.KEEP else verdict

    return weigh


def back_to_the_newest(original: Callable[..., list[Effect]]) -> Callable[..., list[Effect]]:
    def on_recomputed(self: CoordinatorState, *args: Any) -> list[Effect]:
        step = self._training.step
        effects = original(self, *args)
        return [GoBack(step) if isinstance(e, GoBack) else e for e in effects]

    return on_recomputed


def contributors_unknown(original: Callable[..., None]) -> Callable[..., None]:
    return lambda self, fraction, rng, contributors: original(self, fraction, rng, {})


def quarantine_forgotten(original: Callable[..., Any]) -> Callable[..., Any]:
    def quarantine(self: Admissions, *args: Any) -> Any:
        refusal = original(self, *args)
        self.quarantined.clear()
        return refusal

    return quarantine


def any_fingerprint(original: Callable[..., Any]) -> Callable[..., Any]:
    def objection(self: Admissions, ready: Ready) -> Any:
        assert self.fingerprint is not None
        return original(self, replace(ready, fingerprint=self.fingerprint))

    return objection


def any_config(original: Callable[..., Any]) -> Callable[..., Any]:
    def objection(self: Admissions, ready: Ready) -> Any:
        return original(self, replace(ready, config_hash=self._work.digest))

    return objection
