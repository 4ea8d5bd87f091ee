"""Workers that come and go as a seed says: whoever was there, the bits are those of one process.

A failing seed is run again with `pytest -k 'schedule and [17]'`.
"""

import random
import signal

import pytest

from tests.integration.crew import STEPS, Crew
from tests.integration.flock import Lab
from tests.integration.oracle import Job
from tests.trials import seeds

pytestmark = pytest.mark.integration

# 75 documents in 8 shards: nothing divides, and however many branches are cut, bits show mistakes.
JOB = Job(steps=STEPS, batch_size=75, n_embd=8, n_head=2, engine="compiled")
EVENTS = 10
WORKERS_MAX = 6


@seeds(gate=5, long=50, soak=200)
def test_a_schedule_of_joins_and_leaves_changes_no_bit(shared_lab: Lab, seed: int) -> None:
    """Machines are rented by the minute: some leave with a word, some are switched off."""
    rng = random.Random(seed)
    crew = Crew(shared_lab, JOB)
    working = [crew.hire() for _ in range(rng.randrange(1, 4))]
    left: dict[str, signal.Signals] = {}
    for _ in range(EVENTS):
        crew.wait_for_step(crew.steps + rng.randrange(1, 25))
        if len(working) < WORKERS_MAX and (len(working) == 0 or rng.random() < 0.5):
            working += [crew.hire() for _ in range(rng.randrange(1, 3))]
        else:
            for name in rng.sample(working, k=rng.randrange(1, len(working) + 1)):
                working.remove(name)
                left[name] = rng.choice((signal.SIGTERM, signal.SIGKILL))
                crew.send([name], left[name])
        if not working:  # a run without workers waits, and so would we
            working = [crew.hire()]

    crew.wait_for_step(crew.steps + 10)
    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(working)
    for name, number in left.items():
        worker = crew.workers[name]
        code = worker.exit_code()
        has_begun = "joined run" in worker.stderr  # before, SIGTERM may end it anywhere
        assert code == 0 or code == -number
        assert code == 0 or number is signal.SIGKILL or not has_begun
