"""A disk that takes checkpoints and no lines: a step without its line is not called durable."""

import resource
import signal

import pytest

from tests.integration.flock import Lab, checkpointed_step, free_address, metrics, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=1_000_000, batch_size=64, n_embd=4, engine="compiled")


def test_a_durable_step_has_its_line(lab: Lab) -> None:
    """The coordinator may write no file beyond the size that metrics.jsonl has by then."""
    run_dir, address = lab.directory / "run", free_address()
    said = [f"--bind={address}", f"--run-dir={run_dir}", f"--data={lab.data}", *JOB.flags()]
    coordinator = lab.fork("coordinator", *said, "--checkpoint-every=10")
    lab.fork("worker", f"--connect={address}", "--name=w1")
    path = run_dir / "metrics.jsonl"

    def size() -> int:
        """Of the metrics, once every other file is far smaller."""
        others = (other for other in run_dir.rglob("*") if other != path)
        sizes = [other.stat().st_size for other in others if other.exists()]
        mine = path.stat().st_size if path.exists() else 0
        return mine if mine > 2 * max([20_000, *sizes]) else 0

    def lines() -> int:
        return path.read_bytes().count(b"\n")

    limit = wait_until("many lines", size)
    _, hard = resource.prlimit(coordinator.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(coordinator.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def is_refused() -> bool:
        assert checkpointed_step(run_dir) <= lines()
        return "is not saved: expected room for metrics" in coordinator.stderr

    wait_until("a save that fails", is_refused)
    refused_at = lines()
    assert checkpointed_step(run_dir) <= refused_at
    resource.prlimit(coordinator.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until("a save that does not", lambda: checkpointed_step(run_dir) > refused_at)
    coordinator.send(signal.SIGTERM)
    assert coordinator.exit_code() == 0, coordinator.stderr
    found = [line["step"] for line in metrics(run_dir)]
    assert found == list(range(1, checkpointed_step(run_dir) + 1))
