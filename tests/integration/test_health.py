"""Health as a container engine asks for it: of real roles, running, stopped, and in trouble."""

import signal

import pytest

from tests.integration.flock import Lab, Process, checkpointed_step, free_address, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job(steps=1_000_000, engine="compiled")


def code_of(lab: Lab, name: str) -> int:
    return lab.run("health", str(lab.directory / name)).exit_code()


def test_every_role_is_well_while_it_runs_and_ill_while_it_hangs(lab: Lab) -> None:
    """A hung process keeps its port open, and libzmq goes on answering for it."""
    address, run_dir = free_address(), lab.directory / "run"
    health = {name: f"--health-file={lab.directory / name}" for name in ("c", "w", "s")}
    flags = [*JOB.flags(), f"--data={lab.data}", f"--run-dir={run_dir}"]
    roles: dict[str, Process] = {
        "c": lab.start("coordinator", f"--bind={address}", *flags, health["c"]),
        "w": lab.start("worker", f"--connect={address}", health["w"]),
    }
    wait_until("a checkpoint", lambda: checkpointed_step(run_dir) >= 0)
    serve = ["serve", f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0"]
    roles["s"] = lab.start(*serve, health["s"])

    for name in roles:
        wait_until(f"{name} to be well", lambda name=name: code_of(lab, name) == 0)
    for process in roles.values():
        process.send(signal.SIGSTOP)
    for name in roles:
        wait_until(f"{name} to be ill", lambda name=name: code_of(lab, name) == 1, within_s=15)
    for process in roles.values():
        process.send(signal.SIGCONT)
    for name in roles:
        wait_until(f"{name} to be well again", lambda name=name: code_of(lab, name) == 0)


def test_a_worker_without_a_coordinator_is_well(lab: Lab) -> None:
    """To start it anew would help nobody."""
    lab.start("worker", f"--connect={free_address()}", f"--health-file={lab.directory / 'w'}")

    wait_until("it to be well", lambda: code_of(lab, "w") == 0)


def test_a_coordinator_that_cannot_save_is_ill_and_says_why(lab: Lab) -> None:
    address, run_dir = free_address(), lab.directory / "run"
    flags = [*JOB.flags(), f"--data={lab.data}", f"--run-dir={run_dir}", "--checkpoint-every=50"]
    lab.start("coordinator", f"--bind={address}", *flags, f"--health-file={lab.directory / 'c'}")
    lab.start("worker", f"--connect={address}")
    wait_until("a checkpoint", lambda: checkpointed_step(run_dir) >= 50)
    assert code_of(lab, "c") == 0

    (run_dir / "checkpoints").rename(run_dir / "aside")
    (run_dir / "checkpoints").write_text("in the way")

    def complaint() -> str:
        return lab.run("health", str(lab.directory / "c")).stderr

    wait_until("a save to fail", lambda: "Not a directory" in complaint())
    assert "expected a run without trouble, got: " in complaint()
    assert code_of(lab, "c") == 1
