"""Real workers that would compute something else: none contributes, and each is told why.

A machine of another kind is made from this one by what Python or the linker loads first.
"""

from collections.abc import Iterator

import pytest

from tests.integration.crew import STEPS, Crew
from tests.integration.flock import ROOT, Lab, Process, metrics
from tests.integration.libraries import OTHER_EXP, built
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=STEPS)  # eager: its exponentials are the C library's
REFUSED = 78

OTHER_VERSION = """
import wire.messages
wire.messages.PROTOCOL_VERSION = 3
"""
OTHER_CONFIG = """
import engine.config
engine.config.WorkConfig.digest = property(lambda self: "0" * 64)
"""
OTHER_ARITHMETIC = """
import math
right = math.exp
math.exp = lambda x: math.nextafter(right(x), 0.0)
"""


@pytest.fixture(scope="module")
def crew(shared_lab: Lab) -> Iterator[Crew]:
    """A run that nobody works for until the strangers are gone; then its bits are judged."""
    crew = Crew(shared_lab, JOB)
    yield crew
    assert crew.steps == 0
    assert crew.members == []
    names = crew.hire_and_wait(1)
    crew.wait_for_step(5)
    crew.assert_as_if_nothing_had_happened()
    crew.assert_workers_leave(names)


def start_worker_of(kind: str, lab: Lab, address: str) -> Process:
    """Start a worker on a machine of another kind."""
    directory = lab.directory / kind.replace(" ", "-")
    directory.mkdir(exist_ok=True)
    said = ["worker", f"--connect={address}", "--name=stranger"]
    if kind == "another C library":
        return lab.start(*said, LD_PRELOAD=str(built(OTHER_EXP, directory / "exp.so")))
    sources = {
        "another version": OTHER_VERSION,
        "another config": OTHER_CONFIG,
        "other arithmetic": OTHER_ARITHMETIC,
    }
    (directory / "sitecustomize.py").write_text(sources[kind])
    return lab.start(*said, PYTHONPATH=f"{directory}:{ROOT}")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("another version", "expected protocol version 2, got 3"),
        ("another config", "expected config "),
        ("other arithmetic", "expected gradients with digest "),
        ("another C library", "expected gradients with digest "),
    ],
)
def test_a_worker_that_would_compute_something_else_is_told_why_and_leaves(
    shared_lab: Lab, crew: Crew, kind: str, words: str
) -> None:
    """A fleet is never upgraded all at once; one old machine must not spoil every bit."""
    stranger = start_worker_of(kind, shared_lab, crew.address)

    assert stranger.exit_code() == REFUSED
    assert len(stranger.errors) == 1
    assert words in stranger.errors[0]
    assert "Traceback" not in stranger.stderr
    crew.coordinator.wait_until_it_says(words)
    assert " joined from " not in crew.coordinator.stderr


def test_a_machine_that_rounds_otherwise_is_let_in_if_that_is_asked_for(lab: Lab) -> None:
    """Then the losses are as close as rounding is, and the weights are other bits."""
    crew = Crew(lab, JOB, "--accept-numerics")
    stranger = start_worker_of("other arithmetic", lab, crew.address)
    crew.wait_for_step(5)

    losses = [line["loss"] for line in metrics(crew.run_dir)][:5]
    expected = JOB.expected(5).losses
    assert losses == pytest.approx(expected, rel=1e-9)
    assert losses != expected
    assert stranger.is_running
