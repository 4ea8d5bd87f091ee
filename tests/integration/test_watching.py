"""What people can watch of a real run, all of it at once; and that it changes nothing."""

import json
import math
import os
import signal

import httpx
import pytest

from tests.integration.flock import Lab, Process, free_address, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=40)
PHASES = ("broadcast", "compute", "collect", "reduce", "adam", "checkpoint", "other")


def test_a_run_that_is_watched_has_the_bits_of_one_that_is_not(lab: Lab) -> None:
    timeline, page = lab.directory / "timeline.json", free_address().removeprefix("tcp://")

    train = lab.train(
        JOB,
        "--workers=2",
        "--grad-norms",
        f"--timeline-filename={timeline}",
        f"--dashboard={page}",
        "--log-format=json",
    )
    assert train.exit_code() == 0, train.stderr

    assert train.summary()["weights_sha256"] == JOB.expected().weights_sha256
    lines = train.metrics()
    assert [line["step"] for line in lines] == [*range(1, JOB.steps + 1)]
    for line in lines:
        assert tuple(line["phases"]) == PHASES
        assert math.fsum(line["phases"].values()) == pytest.approx(line["seconds"], rel=0.01)
        assert line["bytes_sent"] > 0 < line["bytes_received"]
        assert line["grad_norms"]["wte"] > 0.0
    events = json.loads(timeline.read_text())
    assert sum(one["name"].startswith("step ") for one in events) == JOB.steps
    names = [one["args"]["name"] for one in events if one["ph"] == "M"]
    assert any(name.startswith("worker-1-") for name in names)
    told = [json.loads(line) for line in train.stderr.splitlines()]
    assert {one.get("fact") for one in told} >= {"StepCommitted", "MemberJoined", "MembersSeen"}


def test_a_step_is_saved_after_its_line_is_written(lab: Lab) -> None:
    """A lone worker's audited answers are recomputed, and so steps are committed in another way."""
    job = Job(steps=30)
    train = lab.train(job, "--workers=1", "--audit=1", "--held-out=0", "--checkpoint-every=2")

    assert train.summary()["weights_sha256"] == job.expected().weights_sha256
    assert train.losses() == job.expected().losses


def test_without_grad_norms_nobody_computes_them(lab: Lab) -> None:
    train = lab.train(Job(steps=2), "--workers=1")
    assert train.exit_code() == 0, train.stderr

    assert all("grad_norms" not in line for line in train.metrics())


def test_the_page_comes_back_with_a_coordinator_that_was_killed(lab: Lab) -> None:
    """A page is no reason for a run to end: the old one may still be leaving."""
    page = free_address().removeprefix("tcp://")
    train = lab.train(Job(steps=100_000), "--workers=1", f"--dashboard={page}")
    wait_until("a page", lambda: _is_shown(page))

    os.kill(train.child("coordinator"), signal.SIGKILL)

    train.wait_until_it_says("was killed by SIGKILL; starting it again")
    wait_until("the page again", lambda: _is_shown(page))
    assert train.is_running
    train.send(signal.SIGTERM)
    assert train.exit_code() == 0
    lab.assert_nobody_is_left()


def _is_shown(page: str) -> bool:
    try:
        return bool(httpx.get(f"http://{page}/api/state", timeout=5).json()["state"] == "here")
    except (httpx.HTTPError, KeyError):
        return False


def test_a_timeline_that_finds_no_room_costs_a_line_and_not_the_run(lab: Lab) -> None:
    train = lab.train(JOB, "--workers=1", "--timeline-filename=/dev/full")

    assert train.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert "the timeline ends" in train.stderr
    assert "No space left" in train.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dashboard=nowhere"], ["expected host:port", "--dashboard"]),
        (["--dashboard=off"], ["expected host:port", "--dashboard"]),
        (["--dashboard=0.0.0.0:8090"], ["--insecure"]),
        (["--timeline-filename=/nowhere/t.json"], ["/nowhere/t.json", "--timeline-filename"]),
        (["--core=4095"], ["expected one of the cores", "--core"]),
    ],
)
def test_what_cannot_be_watched_is_said_in_one_line(
    lab: Lab, flags: list[str], words: list[str]
) -> None:
    run_dir = lab.directory / "run"
    done = lab.start("coordinator", f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0", *flags)

    assert done.exit_code() in (1, 2)
    last = _last_line(done)
    assert all(word in last for word in words), done.stderr
    assert "Traceback" not in done.stderr


def _last_line(process: Process) -> str:
    return process.stderr.strip().splitlines()[-1]
