"""A real worker that lies, in a run that audits: found, refused, and nothing of it is left."""

import re

import pytest

from tests.integration.crew import STEPS, Crew
from tests.integration.flock import Lab, Process, metrics
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=STEPS, batch_size=64, n_embd=4, n_head=2, engine="compiled")
FAILURE, REFUSED = 1, 78


def start_liar(lab: Lab, crew: Crew) -> Process:
    said = ["worker", f"--connect={crew.address}", "--name=liar"]
    return lab.start_script("tests.integration.liar", *said)


def test_a_worker_that_lies_is_refused_and_its_steps_are_computed_again(lab: Lab) -> None:
    """Its losses look like everybody's; without an audit nobody would ever know."""
    crew = Crew(lab, JOB, "--audit=0.2")
    names = crew.hire_and_wait(2)
    crew.wait_for_step(20)

    liar = start_liar(lab, crew)

    assert liar.exit_code() == REFUSED
    assert len(liar.errors) == 1
    assert "got other bits from liar-" in liar.errors[0]
    crew.coordinator.wait_until_it_says(" has lied about branch ")
    back = crew.coordinator.wait_until_it_says("going back from step ")
    found, before = map(int, re.findall(r"step (\d+)", back))
    assert found >= before
    crew.wait_for_step(found + 50)
    assert set(crew.members) == set(names)
    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(names)


def test_a_run_that_is_to_stop_for_a_liar_stops_and_says_so(lab: Lab) -> None:
    """Somebody may want to look at that machine before anything else is computed."""
    crew = Crew(lab, JOB, "--audit=0.2", "--on-liar=stop")
    crew.hire_and_wait(2)
    liar = start_liar(lab, crew)

    assert crew.coordinator.exit_code() == FAILURE
    assert liar.exit_code() == REFUSED
    assert len(crew.coordinator.errors) == 1
    assert "liar-" in crew.coordinator.errors[0]
    losses = [line["loss"] for line in metrics(crew.run_dir)]
    assert losses == JOB.expected(len(losses)).losses  # of the steps before its first


LIAR = """
import sys

if "--name=worker-1" in sys.orig_argv:
    from engine.branch import BranchComputation

    advance = BranchComputation.advance

    def lie(self):
        advance(self)
        if self.total is not None:
            self.total.grad[0] += 1e-9

    BranchComputation.advance = lie
"""


def test_train_goes_on_without_a_worker_that_lies(lab: Lab) -> None:
    """One bad core of a machine is no reason to lose the run."""
    (lab.directory / "sitecustomize.py").write_text(LIAR)
    lab.environment["PYTHONPATH"] = f"{lab.directory}:{lab.environment['PYTHONPATH']}"
    # So many that the run outlives the worker that is refused.
    job = Job(steps=5000, batch_size=64, n_embd=4, n_head=2, engine="compiled")

    train = lab.train(job, "--workers=2", "--audit=0.3")

    assert train.summary()["weights_sha256"] == job.expected().weights_sha256
    assert train.losses() == job.expected().losses
    assert "worker-1-" in train.wait_until_it_says("has lied about branch")
    assert "going on without it" in train.stderr
