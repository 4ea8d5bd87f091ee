"""`gradflock status` of a run that goes on: who works on it, and what it says when nobody does."""

import json
import signal
import time
from typing import Any

import pytest

from tests.integration.flock import Lab, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

LONG = Job(steps=100_000)


def status(lab: Lab, *arguments: str) -> dict[str, Any]:
    asked = lab.run("status", *arguments, "--json")
    assert asked.exit_code() == 0, asked.stderr
    values: dict[str, Any] = json.loads(asked.stdout)
    return values


def test_a_run_names_its_members_with_ranks_while_it_goes_on_and_nobody_afterwards(
    lab: Lab,
) -> None:
    """What `torchrun` has in the environment of each process, here one can ask for."""
    train = lab.train(LONG, "--workers=2")
    train.wait_for_step(3)
    where = f"--run-dir={train.run_dir}"

    def both_work() -> dict[str, Any] | None:
        seen = status(lab, where)
        is_so = all(one["documents_done"] for one in seen["members"]) and seen["world_size"] == 2
        return seen if is_so else None

    seen = wait_until("both workers to have counted", both_work)
    text = lab.run("status", where)
    train.send(signal.SIGTERM)
    train.exit_code()
    afterwards = lab.run("status", where)

    assert seen["phase"] == "training"
    assert seen["gen"] == 1
    assert 3 <= seen["step"] < seen["steps"] == LONG.steps
    assert seen["numerics"] == "strict"
    assert seen["documents_per_s"] > 0
    assert sorted(one["rank"] for one in seen["members"]) == [0, 1]
    assert sorted(one["pid"] for one in seen["members"]) == sorted(train_workers(text.stdout))
    assert all(one["phase"] == "ready" and one["heard_s"] < 3 for one in seen["members"])
    assert all(one["branches_done"] and one["documents_per_s"] > 0 for one in seen["members"])
    branches = seen["branches"]
    assert branches["summed"] + branches["leased"] + branches["waiting"] == branches["total"]
    assert "WORLD_SIZE 2" in text.stdout
    assert afterwards.exit_code() == 1
    assert afterwards.errors == [
        f"gradflock: expected a running coordinator, got none — {train.run_dir};"
        " start it with gradflock train or coordinator"
    ]


def train_workers(text: str) -> list[int]:
    """Read the process ids from the table."""
    rows = [line.split() for line in text.splitlines()]
    (header,) = (row for row in rows if row[:1] == ["RANK"])
    table = rows[rows.index(header) + 1 :]
    return [int(row[header.index("pid")]) for row in table]


def test_an_address_that_a_killed_coordinator_left_behind_is_seen_through_at_once(
    lab: Lab,
) -> None:
    """Nothing tidies up after SIGKILL."""
    run_dir = lab.directory / "run"
    said = ("--bind=tcp://127.0.0.1:0", f"--run-dir={run_dir}", f"--data={lab.data}")
    coordinator = lab.start("coordinator", *said, *LONG.flags())
    coordinator.wait_until_it_says("coordinator at ")
    assert status(lab, f"--run-dir={run_dir}")["members"] == []

    coordinator.send(signal.SIGKILL)
    coordinator.exit_code()
    began_s = time.monotonic()
    asked = lab.run("status", f"--run-dir={run_dir}")
    took_s = time.monotonic() - began_s

    (line,) = asked.errors
    assert asked.exit_code() == 1
    assert "expected a running coordinator, got none (nobody listens there)" in line
    assert took_s < 3.0
