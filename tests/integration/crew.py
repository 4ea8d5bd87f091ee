"""A coordinator and the workers that a trial starts, loses and judges, all of them warm."""

import json
import os
import signal
from collections.abc import Collection
from pathlib import Path

from cli.view import Said, describe, read_fact
from coordinator.facts import Fact
from coordinator.run_directory import RunDirectory
from tests.integration.flock import Lab, Process, free_address, metrics, wait_until
from tests.integration.oracle import Job

STEPS = 1_000_000  # of a run that a trial stops when it has seen enough
TAIL_BYTES = 4096  # of metrics.jsonl: several lines
LOOK_S = 0.001  # how often a trial looks whether a step is committed


def committed(run_dir: Path) -> int:
    """Give the newest step that has a line in metrics.jsonl, without reading all of it."""
    try:
        with (run_dir / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            *lines, _unfinished = file.read().split(b"\n")
    except FileNotFoundError:
        return 0
    # A kill may leave the second half of a line that was to be extended.
    whole = [line for line in lines if line.startswith(b"{")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def facts(process: Process) -> list[Fact]:
    """Give what a coordinator with --log-format=json has told; a kill may cut its last line."""
    found = map(read_fact, process.stderr.splitlines())
    return [fact for fact in found if not isinstance(fact, Said | str)]


class Crew:
    """One run: its coordinator, and whoever works for it.

    Attributes:
        address: the coordinator's.
        starts: of the coordinator, the process of each.
        workers: by name; those that were lost are still here.
    """

    def __init__(self, lab: Lab, job: Job, *flags: str, is_warm: bool = True) -> None:
        """Start the coordinator.

        Args:
            flags: of the coordinator, besides the job's.
            is_warm: it is forked; what it has in memory is then not all its own.
        """
        self._lab, self.job = lab, job
        self.address = free_address()
        self.run_dir = lab.directory / f"run-{self.address.rpartition(':')[2]}"
        said = [f"--bind={self.address}", f"--run-dir={self.run_dir}", f"--data={lab.data}"]
        self._command = ["coordinator", *said, *job.flags(), *flags]
        self._start = lab.fork if is_warm else lab.start
        self.starts = [self._start(*self._command)]
        self.workers: dict[str, Process] = {}

    @property
    def coordinator(self) -> Process:
        """The newest: what follows asks what it has said, and not those before it."""
        return self.starts[-1]

    def kill_coordinator(self) -> None:
        self.coordinator.send(signal.SIGKILL)
        assert self.coordinator.exit_code() == -signal.SIGKILL, self.coordinator.stderr

    def restart_coordinator(self) -> None:
        """Start one more on the same address and run, if one before it has begun that run."""
        self.starts.append(self._start(*self._command, "--resume=auto"))

    def hire(self, address: str | None = None, *flags: str) -> str:
        """Start one more worker and give its name.

        Args:
            address: where it connects to, if not to the coordinator directly.
        """
        name = f"w{len(self.workers) + 1}"
        connect = f"--connect={address or self.address}"
        self.workers[name] = self._lab.fork("worker", connect, f"--name={name}", *flags)
        return name

    def hire_and_wait(self, count: int, address: str | None = None, *flags: str) -> list[str]:
        """Start so many workers and wait until all of them are members."""
        names = [self.hire(address, *flags) for _ in range(count)]
        self.wait_for_members(names)
        return names

    @property
    def members(self) -> list[str]:
        """Who has joined and is not lost, in order of joining, as the coordinator has said."""
        members: dict[str, bool] = {}
        for line in self._said():
            who, _, said = line.partition(" ")
            name = who.rpartition("-")[0]
            if name in self.workers and said.startswith("joined from "):
                members[name] = True
            elif name in self.workers and said.startswith("lost: "):
                members.pop(name, None)
        return list(members)

    def wait_for_members(self, names: Collection[str], within_s: float = 30.0) -> None:
        def are_members() -> bool:
            assert self.coordinator.is_running, self.coordinator.stderr
            return set(names) <= set(self.members)

        wait_until(f"{', '.join(names)} to be members", are_members, within_s)

    def joins(self, name: str) -> int:
        """How often this worker has become a member."""
        return sum(line.startswith(f"{name}-") and " joined from " in line for line in self._said())

    def wait_for_join(self, name: str, joins: int) -> None:
        """Wait until it has become a member so often, however short a time it was lost."""
        wait_until(f"{name} to join {joins} times", lambda: self.joins(name) >= joins)

    def wait_until_lost(self, names: Collection[str], within_s: float = 30.0) -> None:
        def are_lost() -> bool:
            assert self.coordinator.is_running, self.coordinator.stderr
            return not set(names) & set(self.members)

        wait_until(f"{', '.join(names)} to be missed", are_lost, within_s)

    @property
    def steps(self) -> int:
        """How many steps are committed."""
        return committed(self.run_dir)

    def wait_for_step(self, step: int) -> None:
        def has_step() -> bool:
            count = self.steps
            assert count >= step or self.coordinator.is_running, self.coordinator.stderr
            return count >= step

        wait_until(f"step {step}", has_step, look_s=LOOK_S)

    def send(self, names: Collection[str], number: signal.Signals) -> None:
        for name in names:
            self.workers[name].send(number)

    def assert_as_if_nothing_had_happened(self) -> None:
        """Stop the run where it is: every step is there once, with the bits of one process."""
        assert self.steps < self.job.steps, "the run was over before the trial was"
        self.coordinator.send(signal.SIGTERM)
        assert self.coordinator.exit_code() == 0, self.coordinator.stderr
        lines = metrics(self.run_dir)
        expected = self.job.expected(len(lines))
        assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
        assert [line["loss"] for line in lines] == expected.losses
        checkpoint, complaints = RunDirectory(self.run_dir).checkpoints.newest()
        assert complaints == []
        assert checkpoint is not None
        assert (checkpoint.step, checkpoint.weights_sha256) == (len(lines), expected.weights_sha256)
        assert "Traceback" not in self.coordinator.stderr

    def assert_workers_leave(self, names: Collection[str]) -> None:
        """Everybody who was not killed is still there, and leaves when told to."""
        for name in names:
            assert self.workers[name].is_running, self.workers[name].stderr
        self.send(names, signal.SIGTERM)
        for name in names:
            assert self.workers[name].exit_code(15) == 0, self.workers[name].stderr
            assert "Traceback" not in self.workers[name].stderr

    def _said(self) -> list[str]:
        """What the coordinator has said, for people, whichever way it says it."""
        found = map(read_fact, self.coordinator.stderr.splitlines())
        return [line if isinstance(line, str) else _text(line) for line in found]


def _text(said: Fact | Said) -> str:
    return said.text if isinstance(said, Said) else describe(said)
