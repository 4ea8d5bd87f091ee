"""Planted bugs, each one small change to a production method: the simulator must catch them all.

A simulator that finds nothing is either proof of good code or of a bad simulator; these tell which.

Prior art: DeMillo, Lipton and Sayward 1978, "Hints on Test Data Selection".
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from coordinator import assignments, phases
from coordinator.admissions import Admissions
from coordinator.assignments import Assignments
from coordinator.audits import Audits
from coordinator.leases import Board
from coordinator.members import Member, Members
from coordinator.outbox import Outbox
from coordinator.phases import Phases
from coordinator.saves import Saves
from coordinator.settings import CheckpointEvery
from coordinator.state import CoordinatorState
from coordinator.training import Training
from tests.simulation import bugs
from tests.simulation.plan import STRANGE, Plan
from wire import codec
from worker.state import WorkerState

Change = tuple[object, str, Callable[[Any], Any]]  # owner, attribute, original -> replacement


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug.

    Attributes:
        bug: what is wrong, as a sentence.
        changes: what it takes.
        alter: makes worlds in which it shows soon; as seeds plan them, if there is none.
    """

    name: str
    bug: str
    changes: tuple[Change, ...]
    alter: Callable[[Plan], Plan] | None = None

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in production code for a while."""
        with ExitStack() as undo:
            for owner, attribute, make in self.changes:
                original = vars(owner)[attribute]
                undo.callback(setattr, owner, attribute, original)
                setattr(owner, attribute, make(original))
            yield


# ---- worlds in which a bug shows soon -----------------------------------------------------------


def _with_a_liar(plan: Plan) -> Plan:
    one = replace(plan, workers=max(plan.workers, 2), liars=1, lie=0.3, audit=0.3, calm_s=1.5)
    return replace(one, save_failure=0.0, slow_save=0.0, other_machine=0.0)


def _with_a_liar_for_long(plan: Plan) -> Plan:
    """Coordinators come and go before the liar is found."""
    longer = replace(_with_a_liar(plan), steps=40, quiet_s=60.0, audit=0.1)
    return replace(longer, every=CheckpointEvery(steps=1), save_s=0.0, has_held_out=False)


def with_a_liar_and_slow_saves(plan: Plan) -> Plan:
    """A run goes back while it saves, and now and then the disk refuses that as well."""
    slow = replace(_with_a_liar(plan), every=CheckpointEvery(steps=1), save_s=2.0)
    return replace(slow, slow_save=0.1, save_failure=0.5, unsaved_max=10_000)


def _with_slow_saves(plan: Plan) -> Plan:
    return replace(plan, slow_save=0.5)


def _with_overlapping_saves(plan: Plan) -> Plan:
    """Many a save is still under way when the next falls due."""
    return replace(plan, steps=40, every=CheckpointEvery(steps=3), save_s=2.0, liars=0)


def _with_failing_saves(plan: Plan) -> Plan:
    return replace(plan, save_failure=0.6, unsaved_max=1)


def _with_other_machines(plan: Plan) -> Plan:
    return replace(plan, calm_s=0.7, other_machine=0.7)


def _with_strangers(plan: Plan) -> Plan:
    return replace(plan, strangers=STRANGE)


def _with_restarts(plan: Plan) -> Plan:
    """One worker, so that its sessions have the same numbers in each generation."""
    return replace(plan, steps=40, workers=1, strangers=(), liars=0, quiet_s=30.0, calm_s=0.5)


def _alone(plan: Plan) -> Plan:
    return replace(plan, workers=1, liars=0, calm_s=1.5)


def _with_a_deadly_branch(plan: Plan) -> Plan:
    return replace(plan, deadly_step=2)


MUTANTS = (
    Mutant(
        "no dedup",
        "A branch's second answer is added to its first.",
        ((Board, "is_summed", bugs.never_summed), (Board, "count", bugs.count_again)),
    ),
    Mutant(
        "hedge counted twice",
        "Of a hedged branch, both answers are added.",
        (
            (Board, "is_summed", bugs.summed_unless_hedged),
            (Board, "hedge", bugs.note_hedge),
            (Board, "count", bugs.count_again),
        ),
    ),
    Mutant(
        "arrival order",
        "The branches of a step are added in the order in which they came.",
        ((Board, "total", bugs.as_they_came),),
    ),
    Mutant(
        "stale step accepted",
        "An answer to an earlier step counts for the open one.",
        ((Training, "judge", bugs.judged_as_of_now),),
    ),
    Mutant(
        "params digest unchecked",
        "An answer by other parameters counts.",
        ((Training, "judge", bugs.judged_by_step_alone),),
        _with_strangers,
    ),
    Mutant(
        "frame digest unchecked",
        "Flipped bits on the wire are believed.",
        ((codec, "digest_of", bugs.digest_of_nothing),),
    ),
    Mutant(
        "parameters unchecked",
        "Flipped bits in parameters are believed, whatever the header calls them.",
        ((codec, "_checked_params", bugs.params_as_they_are),),
    ),
    Mutant(
        "NaN accepted",
        "An answer that is not a number counts.",
        ((Training, "judge", bugs.number_or_not),),
    ),
    Mutant(
        "cut again",
        "A step is cut into branches anew after some are summed.",
        ((Board, "count", bugs.always_untouched),),
    ),
    Mutant(
        "generation ignored",
        "A message of an earlier generation is believed.",
        ((Outbox, "is_ours", bugs.of_run_alone),),
        _with_restarts,
    ),
    Mutant(
        "run ignored",
        "A message of another run is believed.",
        ((Outbox, "is_ours", bugs.of_generation_alone),),
    ),
    Mutant(
        "session ignored",
        "A message of an earlier session is taken for one of this.",
        ((Members, "of_session", bugs.of_peer),),
    ),
    Mutant(
        "WHO ignored",
        "A worker whose session is gone does not say HELLO again.",
        ((WorkerState, "_on_message", bugs.deaf_to_who),),
        _alone,
    ),
    Mutant(
        "lease never ends",
        "A lost worker's branches are given to nobody else.",
        ((Assignments, "free", bugs.nothing_freed),),
    ),
    Mutant(
        "silence never noticed",
        "A worker that says nothing keeps its leases.",
        ((Member, "silence_limit_s", bugs.never),),
    ),
    Mutant(
        "idling never noticed",
        "A worker that answers PINGs and computes nothing keeps its leases.",
        ((Member, "progress_limit_s", bugs.never),),
        _alone,
    ),
    Mutant(
        "no third strike",
        "A branch that nobody survives is given to one worker after the other.",
        ((Assignments, "note_death", bugs.no_death),),
        _with_a_deadly_branch,
    ),
    Mutant(
        "three leases",
        "A worker is given a third lease.",
        ((assignments, "LEASES_MAX", bugs.one_more),),
    ),
    Mutant(
        "hedged again",
        "A branch is given to every idle worker.",
        ((Board, "hedge", bugs.hedged_again),),
    ),
    Mutant(
        "wrong lease cancelled",
        "A worker that is told to drop one lease drops the one it computes.",
        ((WorkerState, "_on_cancel", bugs.first_dropped),),
    ),
    Mutant(
        "old params kept",
        "A worker differentiates by the parameters before, under the new ones' name.",
        ((WorkerState, "_on_task", bugs.old_params),),
    ),
    Mutant(
        "durable too early",
        "A step is called durable while it is being saved.",
        ((Saves, "begin", bugs.durable_at_once),),
    ),
    Mutant(
        "failed save durable",
        "A step is called durable though its save has failed.",
        ((Saves, "fail", bugs.durable_though_failed),),
    ),
    Mutant(
        "revoked save believed",
        "What a save has come to that was under way when the run went back is believed.",
        ((Phases, "on_saved", bugs.believed_on_the_way_back),),
        with_a_liar_and_slow_saves,
    ),
    Mutant(
        "counted on the way back",
        "While the run goes back, answers to the step that it leaves are counted.",
        ((Phases, "is_training", bugs.training_on_the_way_back),),
        with_a_liar_and_slow_saves,
    ),
    Mutant(
        "a stuck disk is waited for",
        "A run that should stop waits for a disk that does not answer, for ever.",
        ((Phases, "_leave_if_late", bugs.never_late),),
        _with_slow_saves,
    ),
    Mutant(
        "revoked save awaited",
        "A run that cannot go back waits for the answer to a save that nobody will give.",
        ((Saves, "go_back", bugs.still_pending),),
        with_a_liar_and_slow_saves,
    ),
    Mutant(
        "two saves",
        "A save begins while another is under way.",
        ((Saves, "is_due", bugs.due_at_any_time), (Saves, "begin", bugs.begun_at_any_time)),
        _with_slow_saves,
    ),
    Mutant(
        "due save forgotten",
        "A save that falls due during another is never made up for.",
        ((Saves, "is_due", bugs.due_once),),
        _with_overlapping_saves,
    ),
    Mutant(
        "risk ignored",
        "A run goes on, however many steps are at risk because saves fail.",
        ((Saves, "risk", bugs.no_risk),),
        _with_failing_saves,
    ),
    Mutant(
        "last save not awaited",
        "A coordinator leaves while its last save is under way.",
        ((Phases, "_leave_if_saved", bugs.left_at_once),),
    ),
    Mutant(
        "last save awaited for ever",
        "Who asks for a stop waits for the disk, however long it takes.",
        ((phases, "LAST_SAVE_S", bugs.for_ever),),
        _with_slow_saves,
    ),
    Mutant(
        "other arithmetic goes on",
        "A coordinator goes on with a run whose arithmetic is not its own.",
        ((CoordinatorState, "_on_probed", bugs.any_arithmetic),),
        _with_other_machines,
    ),
    Mutant(
        "done in dispute",
        "A run is saved and ended while an answer is disputed.",
        ((Phases, "go_on", bugs.done_too_early),),
        _with_a_liar,
    ),
    Mutant(
        "mismatch ignored",
        "Of an audited branch's two answers, the second counts, whatever the first was.",
        ((Audits, "weigh", bugs.never_disputed),),
        _with_a_liar,
    ),
    Mutant(
        "audit of one",
        "An audited branch counts after one answer.",
        ((Audits, "weigh", bugs.answered_alone),),
        _with_a_liar,
    ),
    Mutant(
        "back to the newest",
        "A run goes back to its newest checkpoint, though the liar is in it.",
        ((CoordinatorState, "_on_recomputed", bugs.back_to_the_newest),),
        _with_a_liar,
    ),
    Mutant(
        "contributors forgotten",
        "After a resume, nobody knows who has contributed before.",
        ((Audits, "__init__", bugs.contributors_unknown),),
        _with_a_liar_for_long,
    ),
    Mutant(
        "quarantine forgotten",
        "What a liar has said before it was found is still believed.",
        ((Admissions, "quarantine", bugs.quarantine_forgotten),),
        _with_a_liar,
    ),
    Mutant(
        "fingerprint unchecked",
        "A worker whose arithmetic rounds otherwise contributes.",
        ((Admissions, "objection", bugs.any_fingerprint),),
        _with_strangers,
    ),
    Mutant(
        "config unchecked",
        "A worker that computes something else contributes.",
        ((Admissions, "objection", bugs.any_config),),
        _with_strangers,
    ),
)
