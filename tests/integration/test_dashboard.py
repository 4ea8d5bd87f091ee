"""`gradflock dashboard` beside a real training."""

import signal

import httpx
import pytest

from tests.integration.flock import Lab, Process, checkpointed_step, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration


def url_of(dashboard: Process) -> str:
    return dashboard.wait_until_it_says("dashboard at ").partition("at ")[2].partition(",")[0]


def test_a_training_is_shown_while_it_runs_and_when_it_has_ended(lab: Lab) -> None:
    train = lab.train(Job(steps=100_000), "--workers=1", "--checkpoint-every=2")
    wait_until("a checkpoint", lambda: checkpointed_step(train.run_dir) > 2)
    dashboard = lab.start("dashboard", f"--run-dir={train.run_dir}", "--http=127.0.0.1:0")
    url = url_of(dashboard)

    state = wait_until(
        "a member", lambda: (s := httpx.get(f"{url}/api/state").json())["members"] and s
    )
    assert state["state"] == "here"
    assert state["run"]["steps"] == 100_000
    assert state["losses"]
    wait_until("names", lambda: httpx.get(f"{url}/api/state").json()["names"])
    assert "gradflock_up 1.0" in httpx.get(f"{url}/metrics").text

    train.send(signal.SIGTERM)
    train.exit_code()
    wait_until("its end", lambda: httpx.get(f"{url}/api/state").json()["state"] == "away")
    dashboard.send(signal.SIGTERM)
    assert dashboard.exit_code() == 0
    assert "Traceback" not in dashboard.stderr
