"""What people type wrong: one line that helps, the right exit code, and nothing left behind."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.flock import Lab, Process, Train, free_address
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

FAILURE, USAGE = 1, 2


@pytest.fixture(scope="module")
def files(shared_lab: Lab) -> dict[str, Path]:
    """Datasets that cannot be trained on."""
    contents = {
        "empty": b"",
        "latin": "anna\nzoë\n".encode("latin-1"),
        "one-character": b"aaa\naa\n",
        "one-name": b"emma\n",
    }
    files = {name: shared_lab.directory / f"{name}.txt" for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return {**files, "missing": shared_lab.directory / "missing.txt"}


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"tcp://127.0.0.1:{other.getsockname()[1]}"


def assert_it_says_in_one_line(process: Process, code: int, *words: str) -> None:
    assert process.exit_code() == code, process.stderr
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert process.stderr.startswith("gradflock: ")
    for word in words:
        assert word in process.stderr
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("dataset", "code", "words"),
    [
        ("missing", USAGE, "No such file"),
        ("empty", FAILURE, "empty file"),
        ("latin", FAILURE, "line 2"),
        ("one-character", FAILURE, "at least 2 different characters"),
    ],
)
def test_a_dataset_that_cannot_be_trained_on_is_named_in_one_line(
    lab: Lab, files: dict[str, Path], dataset: str, code: int, words: str
) -> None:
    """Own text is the second thing people try, and files are rarely what one thinks they are."""
    train = lab.train_with(f"--data={files[dataset]}")

    assert_it_says_in_one_line(train, code, words)
    assert not train.run_dir.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers=0"], ["--workers", "'0'"]),
        (["--n-embd=10", "--n-head=4"], ["--n-embd", "--n-head"]),
        (["--shards=9", "--batch-size=8"], ["--shards", "--batch-size"]),
        (["--steps=0"], ["--steps"]),
        (["--learning-rate=nan"], ["--learning-rate"]),
        (["--held-out=1.5"], ["--held-out"]),
        (["--n-embd=4000"], ["parameters"]),
        (["--temperature=-1"], ["temperature"]),
        (["--sampler-bind=127.0.0.1:5"], ["tcp://"]),
        (["--sampler-bind=tcp://0.0.0.0:0"], ["--insecure"]),
    ],
    ids=" ".join,
)
def test_a_flag_that_cannot_be_meant_is_named_in_one_line(
    lab: Lab, flags: list[str], words: list[str]
) -> None:
    """A traceback says that we did not think of it; a half-made run is in the way of the next."""
    train = lab.train_with(f"--data={lab.data}", *flags)

    assert_it_says_in_one_line(train, USAGE, *words)
    assert not train.run_dir.exists()


def test_too_few_documents_to_hold_some_out_is_one_line_if_it_was_asked_for(
    lab: Lab, files: dict[str, Path]
) -> None:
    """A held-out loss of nothing would be a number without a meaning."""
    train = lab.train_with(f"--data={files['one-name']}", "--held-out=0.5")

    assert_it_says_in_one_line(train, FAILURE, "--held-out")
    assert not train.run_dir.exists()


def test_a_busy_sampler_port_is_named_with_the_flag_that_changes_it(lab: Lab, taken: str) -> None:
    """Two runs at once are the ordinary reason, and the flag is all it takes."""
    train = lab.train(Job(), f"--sampler-bind={taken}")

    assert_it_says_in_one_line(train, FAILURE, taken, "--sampler-bind")
    assert not train.run_dir.exists()


def test_a_busy_http_port_is_named_with_the_flag_that_changes_it(lab: Lab, taken: str) -> None:
    train = lab.train(Job(), f"--http={taken.removeprefix('tcp://')}")

    assert_it_says_in_one_line(train, FAILURE, taken, "--http")
    assert not train.run_dir.exists()


@pytest.mark.parametrize("role", ["coordinator", "serve"])
def test_a_role_by_hand_names_a_busy_address(lab: Lab, taken: str, role: str) -> None:
    """Starting a role twice must not end in silence or in a half-made run."""
    run_dir = lab.directory / "run"

    process = lab.run(role, f"--bind={taken}", f"--run-dir={run_dir}")

    assert_it_says_in_one_line(process, FAILURE, taken, "--bind")
    assert not run_dir.exists()


def test_a_worker_that_finds_nobody_leaves_when_it_was_told_to(lab: Lab) -> None:
    """A batch queue wants its machine back."""
    address = free_address()

    worker = lab.run("worker", f"--connect={address}", "--max-idle=0.5")

    assert_it_says_in_one_line(worker, FAILURE, address, "0.5 s")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["sample", "--run-dir=nowhere"], ["nowhere"]),
        (["sample", "-n", "0"], ["n from 1"]),
        (["sample", "--temperature=-1"], ["temperature"]),
        (["sample"], ["./runs"]),
        (["serve"], ["./runs"]),
        (["coordinator", "--bind=tcp://127.0.0.1:0"], ["--run-dir"]),
        (["worker", "--connect=localhost"], ["tcp://"]),
        (["worker", "--connect=tcp://192.0.2.1:5555"], ["--insecure"]),
        (["worker", "--connect=tcp://127.0.0.1:1", "--max-idle=nan"], ["--max-idle"]),
        (["train", "--resume"], ["--run-dir"]),
        (["train", "--resume", "--run-dir=nowhere"], ["nowhere"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_the_other_commands_name_what_cannot_be_meant_in_one_line(
    lab: Lab, command: list[str], words: list[str]
) -> None:
    """The same manners at every door."""
    process = lab.run(*command)

    assert_it_says_in_one_line(process, USAGE, *words)
    assert not (lab.directory / "nowhere").exists()
    assert not (lab.directory / "runs").exists()


def test_documents_longer_than_the_model_looks_are_said_once_and_trained_on(lab: Lab) -> None:
    """A silent cut would be a mystery later; an error would stop who only tries things out."""
    train = lab.train(Job(steps=1, block_size=4), "--workers=1")

    summary = train.summary()

    assert summary["weights_sha256"] == Job(steps=1, block_size=4).expected().weights_sha256
    warnings = [line for line in train.stderr.splitlines() if "--block-size" in line]
    assert len(warnings) == 1
    assert re.match(r"[\d,]+ of 1,275 documents are longer than 3 characters", warnings[0])


# ---- a run directory that is somebody else's -------------------------------------------------


@pytest.fixture(scope="module")
def other_run(shared_lab: Lab) -> Train:
    train = shared_lab.train(Job(steps=1), "--workers=1")
    train.summary()
    return train


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lab: [], ["--resume"]),
        (lambda lab: ["--resume", "--n-embd=8"], ["n_embd", "4", "8"]),
        (lambda lab: ["--resume", "--seed=1"], ["seed"]),
        (lambda lab: ["--resume", f"--data={lab.directory / 'other.txt'}"], ["sha256", "--data"]),
    ],
    ids=["no --resume", "another model", "another seed", "another dataset"],
)
def test_a_run_directory_of_another_run_is_refused_and_untouched(
    lab: Lab, other_run: Train, change: Callable[[Lab], list[str]], words: list[str]
) -> None:
    """Going on with the wrong run would destroy the only copy of the right one."""
    (lab.directory / "other.txt").write_text("some\nother\nwords\n")
    before = contents_of(other_run.run_dir)

    train = lab.train_with(*change(lab), run_dir=other_run.run_dir)

    assert_it_says_in_one_line(train, USAGE, str(other_run.run_dir), *words)
    assert contents_of(other_run.run_dir) == before


def contents_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["train", "coordinator"])
def test_a_run_directory_in_use_is_refused_by_name_and_the_run_in_it_goes_on(
    lab: Lab, command: str
) -> None:
    """Two coordinators on one directory would write each other's truth."""
    endless = Job(steps=1_000_000)
    first = lab.train(endless, "--workers=1")
    first.wait_for_step(1)
    holder = f"process {first.child('coordinator')} on {socket.gethostname()} trains in"
    everybody = lab.left()
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    before = contents_of(first.run_dir)

    flags = [f"--run-dir={first.run_dir}", f"--data={lab.data}", "--resume", *endless.flags()]
    where = "--sampler-bind" if command == "train" else "--bind"
    second = lab.run(command, f"{where}={free_address()}", *flags)

    assert_it_says_in_one_line(second, FAILURE, str(first.run_dir), holder)
    assert contents_of(first.run_dir) == before
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    first.wait_for_step(len(first.metrics()) + 1)
    first.send(signal.SIGTERM)
    summary = first.summary()
    expected = endless.expected(summary["steps"])
    assert summary["weights_sha256"] == expected.weights_sha256
    assert first.losses() == expected.losses
