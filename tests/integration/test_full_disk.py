"""A disk that fills up while a run saves: old checkpoints stay good, and the run can go on."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.flock import Lab, checkpointed_step
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

JOB = Job()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of two megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount the small file system that this test fills")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, but_bytes: int = 0) -> Path:
    """Take every byte that is left, or all but some."""
    ballast, room = path / "ballast", path / "room"
    room.write_bytes(bytes(but_bytes))
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                room.unlink()
                return ballast


def test_a_full_disk_ends_the_run_in_one_line_and_costs_only_what_was_not_saved(
    lab: Lab, small_disk: Path
) -> None:
    """Nobody watches the disk of a long run: the checkpoints it has must survive its end."""
    run_dir = small_disk / "run"
    train = lab.train(JOB, "--workers=2", "--checkpoint-every=5", run_dir=run_dir)
    train.wait_for_step(7)

    ballast = fill(small_disk)

    assert train.exit_code() == 1
    assert len(train.errors) == 1, train.stderr
    assert "No space left on device" in train.errors[0]
    assert "Traceback" not in train.stderr
    lab.assert_nobody_is_left()
    saved = checkpointed_step(run_dir)
    assert saved >= 5
    sampled = lab.run("sample", f"--run-dir={run_dir}", "-n", "3", "--json")
    assert sampled.exit_code() == 0
    assert f'"step": {saved}' in sampled.stdout

    ballast.unlink()
    again = lab.train(JOB, "--workers=2", "--resume", run_dir=run_dir)

    assert again.summary()["weights_sha256"] == JOB.expected().weights_sha256
    assert again.losses() == JOB.expected().losses


@pytest.mark.parametrize(
    "pages", [0, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2, 3, 4, 8, 9, 10))]
)
def test_a_disk_that_is_full_from_the_start_is_one_line(
    lab: Lab, small_disk: Path, pages: int
) -> None:
    """Whichever of a run's first writes fails: LOCK, generation, checkpoint, address or logs."""
    fill(small_disk, but_bytes=4096 * pages)

    train = lab.train(JOB, "--workers=1", run_dir=small_disk / "run")

    assert train.exit_code() == 1
    assert len(train.errors) == 1, train.stderr
    assert re.search(r"expected .* No space left on device", train.errors[0])
    assert "Traceback" not in train.stderr
    lab.assert_nobody_is_left()


def test_a_disk_that_has_room_again_in_time_costs_nothing(lab: Lab, small_disk: Path) -> None:
    """Somebody makes room while the run goes on in memory."""
    run_dir = small_disk / "run"
    job = Job(steps=3000, batch_size=64, n_embd=16, n_head=4, engine="compiled")
    train = lab.train(job, "--workers=1", "--checkpoint-every=20", run_dir=run_dir)
    train.wait_for_step(30)

    ballast = fill(small_disk)
    said = train.wait_until_it_says("is not saved: ")
    ballast.unlink()

    assert re.search(r"No space left on device.*; training goes on, \d+ steps are at risk", said)
    assert train.summary()["weights_sha256"] == job.expected().weights_sha256
    assert train.losses() == job.expected().losses


def test_a_disk_that_stays_full_stops_the_run_before_too_much_is_at_risk(
    lab: Lab, small_disk: Path
) -> None:
    run_dir = small_disk / "run"
    job = Job(steps=1_000_000, batch_size=64, n_embd=16, n_head=4, engine="compiled")
    flags = ["--workers=1", "--checkpoint-every=20", "--max-unsaved=200"]
    train = lab.train(job, *flags, run_dir=run_dir)
    train.wait_for_step(30)

    fill(small_disk)

    assert train.exit_code() == 1
    (line,) = train.errors
    assert "expected a save within 200 steps, got none" in line
    assert "No space left on device" in line
    assert f"step {checkpointed_step(run_dir)} is durable: make room" in line
    lab.assert_nobody_is_left()
