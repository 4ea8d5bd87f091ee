"""Signals by the hundred: workers that are killed and workers that stall, and how fast it goes on.

A trial counts when it hit a member of a run that was training. Moments are committed steps, and a
fraction of one, drawn from a seed.
"""

import random
import signal
import time

import pytest

from tests.integration.crew import STEPS, Crew
from tests.integration.figures import Figures
from tests.integration.flock import Lab
from tests.integration.oracle import Job
from tests.trials import trials

pytestmark = pytest.mark.integration

STEP_S = 0.006  # about what a step takes; a signal comes anywhere within it
SEED = 4
# Some 200 steps a second: whoever is lost has leases, and answers on the way.
JOB = Job(steps=STEPS, batch_size=64, n_embd=16, n_head=4, engine="compiled")


@trials(gate=10, long=200, soak=1000)
def test_workers_killed_while_they_train_cost_neither_a_step_nor_a_bit(
    lab: Lab, figures: Figures, count: int
) -> None:
    """Spot machines vanish; at least one of the others goes on, and a new one comes."""
    rng = random.Random(SEED)
    crew = Crew(lab, JOB)
    crew.hire_and_wait(4)
    killed = []
    for _ in range(count):
        while len(crew.members) < 2:
            crew.wait_for_step(crew.steps + 1)
        crew.wait_for_step(crew.steps + rng.randrange(5, 35))
        time.sleep(rng.uniform(0, STEP_S))
        victim = rng.choice(crew.members)
        figures.add("going on after SIGKILL", recovery_from([victim], signal.SIGKILL, crew))
        killed.append(victim)
        assert crew.workers[victim].exit_code() == -signal.SIGKILL
        crew.hire()

    assert len(killed) == count
    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(crew.workers.keys() - set(killed))


@trials(gate=3, long=50, soak=200)
def test_workers_stopped_while_they_train_cost_neither_a_step_nor_a_bit(
    lab: Lab, figures: Figures, count: int
) -> None:
    """A laptop sleeps, a machine swaps: the connection stays, and late answers come in the end."""
    rng = random.Random(SEED)
    crew = Crew(lab, JOB)
    names = crew.hire_and_wait(4)
    stops = 0
    while stops < count:
        crew.wait_for_step(crew.steps + rng.randrange(5, 35))
        time.sleep(rng.uniform(0, STEP_S))
        victims = rng.sample(names, k=min(rng.randrange(1, 4), count - stops))
        figures.add("going on after SIGSTOP", recovery_from(victims, signal.SIGSTOP, crew))
        crew.wait_until_lost(victims)
        crew.wait_for_step(crew.steps + 10)
        crew.send(victims, signal.SIGCONT)
        crew.wait_for_members(victims)
        stops += len(victims)

    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(names)


def recovery_from(victims: list[str], number: signal.Signals, crew: Crew) -> float:
    """Signal; give the seconds until a step is committed that was opened afterwards.

    The step that is open may need nothing more of the victims; the one after it does.
    """
    began_s = time.monotonic()
    crew.send(victims, number)
    crew.wait_for_step(crew.steps + 2)
    return time.monotonic() - began_s
