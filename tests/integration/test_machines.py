"""A coordinator and its workers on machines of their own, with keys, over cables that fail.

The machines are network namespaces: each has its own addresses and its own TCP.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from coordinator.facts import BranchHedged, ConnectionRefused, MemberJoined, MemberLost
from coordinator.run_directory import RunDirectory
from tests.integration.crew import facts
from tests.integration.figures import Figures
from tests.integration.flock import Lab, Process, metrics, wait_until
from tests.integration.machines import Machines, machines
from tests.integration.oracle import Job

pytestmark = [pytest.mark.integration, pytest.mark.long]

WORKERS = 3
NOTICED_S = 5.0
HEALED_S = 20.0  # a worker searches anew with growing pauses
ROUNDS = 5  # of each kind of cut
JOB = Job(steps=1_000_000, batch_size=64, n_embd=16, n_head=4, engine="compiled")
SLOW_KBIT_PER_S = 256  # 34 kB of gradient take a second

T = TypeVar("T")
M = TypeVar("M", MemberJoined, MemberLost)


@pytest.fixture
def network() -> Iterator[Machines]:
    yield from machines(1 + WORKERS + 1)


class Deployed:
    """A coordinator on machine 1, workers on those after it, a stranger's machine at the end."""

    def __init__(self, lab: Lab, network: Machines) -> None:
        self._lab, self._network = lab, network
        self.keys = lab.directory / "keys"
        self.run_dir = lab.directory / "run"
        self.address = f"tcp://{network.address(1)}:5555"
        for number in range(1, WORKERS + 1):
            made = lab.run("keys", "new", f"w{number}", f"--keys={self.keys}")
            assert made.exit_code() == 0, made.stderr
        self.coordinator = lab.start(
            "coordinator",
            f"--bind={self.address}",
            f"--keys={self.keys}",
            f"--run-dir={self.run_dir}",
            f"--data={lab.data}",
            "--log-format=json",
            *JOB.flags(),
            on=network.on(1),
        )
        self.workers = [self._hire(number) for number in range(1, WORKERS + 1)]
        wait_until("everybody to join", lambda: len(self.told(MemberJoined)) == WORKERS)

    def _hire(self, number: int) -> Process:
        key: Path = self.keys / f"w{number}.key"
        connect = f"--connect={self.address}"
        return self._lab.start("worker", connect, f"--key={key}", on=self._network.on(number + 1))

    def told(self, kind: type[T]) -> list[T]:
        return [fact for fact in facts(self.coordinator) if isinstance(fact, kind)]

    def of(self, kind: type[M], worker: int) -> list[M]:
        return [fact for fact in self.told(kind) if fact.name.startswith(f"w{worker}-")]

    def wait_for_steps(self, count: int) -> None:
        before = len(metrics(self.run_dir))
        wait_until(f"{count} more steps", lambda: len(metrics(self.run_dir)) >= before + count)

    def branches_done(self, worker: int) -> int:
        said = self._lab.run(
            "status", f"--run-dir={self.run_dir}", "--json", on=self._network.on(1)
        )
        assert said.exit_code() == 0, said.stderr
        members = json.loads(said.stdout)["members"]
        return sum(m["branches_done"] for m in members if m["name"].startswith(f"w{worker}-"))

    def assert_as_if_nothing_had_happened(self) -> None:
        for worker in self.workers:
            assert worker.is_running, worker.stderr
        self.coordinator.send(signal.SIGTERM)
        assert self.coordinator.exit_code() == 0, self.coordinator.stderr
        lines = metrics(self.run_dir)
        expected = JOB.expected(len(lines))
        assert [line["loss"] for line in lines] == expected.losses
        checkpoint, _ = RunDirectory(self.run_dir).checkpoints.newest()
        assert checkpoint is not None
        assert (checkpoint.step, checkpoint.weights_sha256) == (len(lines), expected.weights_sha256)


@pytest.mark.parametrize("how", ["pull", "lose"])
def test_a_cut_link_is_noticed_by_both_ends_and_heals_without_a_restart(
    lab: Lab, network: Machines, figures: Figures, how: str
) -> None:
    run = Deployed(lab, network)
    cut: Callable[[int], None] = getattr(network, how)
    for turn in range(ROUNDS):
        number = 1 + turn % WORKERS
        worker = run.workers[number - 1]
        run.wait_for_steps(20)
        joined, lost = len(run.of(MemberJoined, number)), len(run.of(MemberLost, number))
        searched = worker.stderr.count("searching again")

        cut(number + 1)
        began_s = time.monotonic()
        wait_until("the loss", lambda n=number, k=lost: len(run.of(MemberLost, n)) > k, NOTICED_S)
        figures.add("cut link noticed by the coordinator", time.monotonic() - began_s)
        wait_until(
            "the search", lambda w=worker, k=searched: w.stderr.count("searching again") > k,
            NOTICED_S,
        )  # fmt: skip
        figures.add("cut link noticed by the worker", time.monotonic() - began_s)
        run.wait_for_steps(20)  # the others go on
        network.mend(number + 1)
        began_s = time.monotonic()
        wait_until(
            "the return", lambda n=number, k=joined: len(run.of(MemberJoined, n)) > k, HEALED_S
        )
        figures.add("back after the link was mended", time.monotonic() - began_s)

    run.assert_as_if_nothing_had_happened()


def test_a_slow_link_is_hedged_and_used_again_when_it_is_fast(
    lab: Lab, network: Machines, figures: Figures
) -> None:
    run = Deployed(lab, network)
    run.wait_for_steps(50)
    hedged = len(run.told(BranchHedged))

    network.slow(2, SLOW_KBIT_PER_S)
    began_s = time.monotonic()
    wait_until("a copy", lambda: len(run.told(BranchHedged)) > hedged, NOTICED_S)
    figures.add("slow link noticed", time.monotonic() - began_s)
    before = run.branches_done(1)
    run.wait_for_steps(100)  # the others do what it is late with
    assert run.branches_done(1) - before < 100 * JOB.shards / WORKERS / 10, "it is passed over"
    network.mend(2)
    began_s = time.monotonic()
    wait_until("it to say something", lambda: run.branches_done(1) > 0)
    done = run.branches_done(1)
    wait_until("it to be used again", lambda: run.branches_done(1) > done + 20, HEALED_S)
    figures.add("used again after the link was mended", time.monotonic() - began_s)

    run.assert_as_if_nothing_had_happened()


def test_a_stranger_of_another_machine_is_named_by_its_address(lab: Lab, network: Machines) -> None:
    run = Deployed(lab, network)
    stranger = WORKERS + 2

    worker = lab.run(
        "worker", f"--connect={run.address}", "--insecure", "--max-idle=3", on=network.on(stranger)
    )

    assert worker.exit_code() == 1
    assert "CURVE keys" in worker.errors[-1]
    assert network.address(stranger) in {fact.address for fact in run.told(ConnectionRefused)}
    run.assert_as_if_nothing_had_happened()
