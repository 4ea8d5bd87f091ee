"""Coordinators killed by the dozen while their workers live on: no step and no bit is lost.

Every kill is followed by another start on the same address and directory. Kills come within a step,
within a save, before a start has bound its address, and while workers join.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from coordinator.facts import CheckpointDurable, PeerRefused, StepCommitted
from coordinator.files import TEMPORARY
from coordinator.store import DATA, RECORD
from tests.integration.crew import STEPS, Crew, facts
from tests.integration.figures import Figures
from tests.integration.flock import Lab, Process, wait_until
from tests.integration.oracle import Job
from tests.trials import trials

pytestmark = pytest.mark.integration

SEED = 5
STEP_S = 0.006  # about what a step takes
SAVE_S = 0.004  # about what a save takes
START_S = 0.3  # about what a start takes to its first step, with a process that is warm
JOIN_S = 0.02
JOB = Job(steps=STEPS, batch_size=64, n_embd=16, n_head=4, engine="compiled")
WORKERS, WORKERS_MAX = 3, 6

Moment = Callable[[Crew, random.Random], None]


# ---- when the kill comes -------------------------------------------------------------------------


def within_a_step(crew: Crew, rng: random.Random) -> None:
    crew.wait_for_step(crew.steps + rng.randrange(1, 30))
    time.sleep(rng.uniform(0, STEP_S))


def within_a_save(crew: Crew, rng: random.Random) -> None:
    crew.wait_for_step(crew.steps + 1)
    wait_until("a save", lambda: is_saving(crew), look_s=0)
    time.sleep(rng.uniform(0, SAVE_S))


def after_the_start(_crew: Crew, rng: random.Random) -> None:
    """It takes its lock, prepares the run, reads checkpoints, counts itself, binds."""
    time.sleep(rng.uniform(0, START_S))


def while_workers_join(crew: Crew, rng: random.Random) -> None:
    """Old ones come back, each when it hears of the new coordinator; perhaps a new one comes."""
    if len(crew.workers) < WORKERS_MAX:
        crew.hire()
    wait_until("a worker to join", lambda: crew.members)
    time.sleep(rng.uniform(0, JOIN_S))


# In turn: so two starts in a row commit nothing.
MOMENTS: tuple[Moment, ...] = (
    within_a_step,
    within_a_save,
    after_the_start,
    while_workers_join,
)
THEN_GOES_ON = (while_workers_join, within_a_step)


def is_saving(crew: Crew) -> bool:
    """Say whether a checkpoint is on its way to the disk, or was when the coordinator died."""
    names = {path.name for path in (crew.run_dir / "checkpoints").iterdir()}
    return any(
        name.endswith(TEMPORARY)
        or (name.endswith(DATA) and name.replace(DATA, RECORD) not in names)
        for name in names
    )


# ---- the trial -----------------------------------------------------------------------------------


@trials(gate=5, long=100, soak=300)
def test_coordinators_killed_at_any_moment_cost_neither_a_step_nor_a_bit(
    lab: Lab, figures: Figures, count: int
) -> None:
    """The coordinator is the one process that has it all: whatever it has called durable, stays."""
    rng = random.Random(SEED)
    moments = itertools.cycle(MOMENTS)
    torn = 0
    for kills, job, every in (
        (count - count // 2, JOB, "20"),
        (count // 2, replace(JOB, held_out=0.1), "0.05s"),
    ):
        crew = Crew(lab, job, f"--checkpoint-every={every}", "--log-format=json")
        crew.hire_and_wait(WORKERS)
        for moment in itertools.islice(moments, kills):
            moment(crew, rng)
            crew.kill_coordinator()
            torn += is_saving(crew)
            steps, began_s = crew.steps, time.monotonic()
            crew.restart_coordinator()
            if moment in THEN_GOES_ON:
                crew.wait_for_step(steps + 1)
                figures.add("a new step after another start", time.monotonic() - began_s)
        crew.wait_for_members(crew.workers)
        crew.wait_for_step(1 + max(fact.step for start in crew.starts for fact in steps_of(start)))

        crew.assert_as_if_nothing_had_happened()
        assert_nothing_durable_was_lost(crew)
        assert_every_start_was_counted(crew)
        crew.assert_workers_leave(crew.workers)
    assert torn >= count // 10, "too few kills have hit a save"


def assert_nothing_durable_was_lost(crew: Crew) -> None:
    """What was committed and not durable is computed again, with the same losses."""
    expected = crew.job.expected(crew.steps).losses
    durable_step = 0
    for start in crew.starts:
        told, steps = facts(start), steps_of(start)
        assert not any(isinstance(fact, PeerRefused) for fact in told)
        if steps:
            restored = steps[0].step - 1
            assert restored >= durable_step
            assert [fact.loss for fact in steps] == [expected[fact.step - 1] for fact in steps]
        saved = [fact.step for fact in told if isinstance(fact, CheckpointDurable)]
        durable_step = max([durable_step, *saved])


def steps_of(start: Process) -> list[StepCommitted]:
    return [fact for fact in facts(start) if isinstance(fact, StepCommitted)]


def assert_every_start_was_counted(crew: Crew) -> None:
    """Those that were killed before they had said anything may have been too early."""
    generation = int((crew.run_dir / "GENERATION").read_text())
    assert sum(bool(facts(start)) for start in crew.starts) <= generation <= len(crew.starts)
