"""`python -m benchmarks.swarm`: one coordinator under many workers that answer at once.

The coordinator is the real one, in a process of its own; all workers are in this process
(`benchmarks/idle_workers.py`). So a step is what the coordinator makes of it: tasks out, gradients
in, their sum, Adam. Its memory is sampled over the run: it should be flat.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import zmq

from benchmarks.idle_workers import IdleWorkers
from benchmarks.machine import machine_facts
from benchmarks.processes import cpu_s, rss_mb
from benchmarks.runs import Settled, metrics_of, settled, start_coordinator

SAMPLE_S = 0.1
SOCKETS_MAX = 4096
EARLY = 0.1  # of the steps: from there on memory should be flat
JUDGED_STEPS = 10_000  # a shorter run is still taking what it will need
GROWTH_MB_MAX = 2.0  # between there and the end; pages that the allocator keeps come and go


@dataclass(frozen=True, slots=True)
class Sample:
    """The coordinator at some moment."""

    at_s: float
    step: int
    messages: int
    cpu_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The coordinator's memory: after a tenth of the steps, at the end, at most, and its slope
    between, by least squares."""

    early_mb: float
    end_mb: float
    high_mb: float
    slope_mb: float  # for 1,000 steps


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark.

    Attributes:
        settled: the steps with all workers, by the run's metrics.
        messages_per_s: what the workers received and sent.
        coordinator_cpu, swarm_cpu: seconds of processor time by seconds of the run.
        cpu_us: the coordinator's, for each message.
    """

    machine: dict[str, str]
    workers: int
    batch: int
    shards: int
    steps: int
    settled: Settled
    steps_per_s: float
    messages_per_s: float
    coordinator_cpu: float
    swarm_cpu: float
    cpu_us: float
    memory: Memory


def main() -> None:
    options = _parse(sys.argv[1:])
    if not Path("/proc/self/statm").exists():
        raise SystemExit("expected Linux, whose /proc tells of other processes, got another system")
    with tempfile.TemporaryDirectory(dir=options.directory, prefix=".swarm-") as scratch:
        report = measure(Path(scratch) / "run", options)
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def measure(run_dir: Path, options: argparse.Namespace) -> Report:
    """Train with a swarm to the end."""
    flags = [f"--steps={options.steps}", f"--batch-size={options.batch}"]
    flags += [f"--shards={options.shards}", "--held-out=0", "--checkpoint-every=1000000"]
    coordinator, address = start_coordinator(run_dir, flags)
    try:
        samples, swarm_s = _work(coordinator.pid, address, options.workers)
        code = coordinator.wait()
    finally:
        coordinator.kill()
    if code:
        raise SystemExit(f"expected the coordinator to end well, got exit code {code}")
    first, last = samples[0], samples[-1]
    run_s = last.at_s - first.at_s
    steps = settled(metrics_of(run_dir), options.workers)
    return Report(
        machine=machine_facts(),
        workers=options.workers,
        batch=options.batch,
        shards=options.shards,
        steps=options.steps,
        settled=steps,
        steps_per_s=1 / steps.step_s,
        messages_per_s=(last.messages - first.messages) / run_s,
        coordinator_cpu=(last.cpu_s - first.cpu_s) / run_s,
        swarm_cpu=swarm_s / run_s,
        cpu_us=1e6 * (last.cpu_s - first.cpu_s) / (last.messages - first.messages),
        memory=memory_of(samples, options.steps),
    )


def _work(pid: int, address: str, workers: int) -> tuple[list[Sample], float]:
    """Be the workers of the coordinator with this pid; give samples of it, and our own seconds."""
    samples: list[Sample] = []
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        swarm = IdleWorkers(context, address, workers)

        def sample() -> None:
            now_s = time.perf_counter()
            if samples and now_s - samples[-1].at_s < SAMPLE_S:
                return
            memory_mb = rss_mb(pid)
            if memory_mb:  # it has not ended yet
                samples.append(Sample(now_s, swarm.step, swarm.messages, cpu_s(pid), memory_mb))

        began_s = time.process_time()
        swarm.work(sample)
        return samples, time.process_time() - began_s


def memory_of(samples: Sequence[Sample], steps: int) -> Memory:
    """Say how memory went on after the first tenth of the steps."""
    late = [one for one in samples if one.step >= EARLY * steps] or list(samples[-1:])
    mean_step = sum(one.step for one in late) / len(late)
    mean_mb = sum(one.rss_mb for one in late) / len(late)
    covariance = sum((one.step - mean_step) * (one.rss_mb - mean_mb) for one in late)
    variance = sum((one.step - mean_step) ** 2 for one in late)
    return Memory(
        early_mb=late[0].rss_mb,
        end_mb=late[-1].rss_mb,
        high_mb=max(one.rss_mb for one in samples),
        slope_mb=1000 * covariance / variance if variance else 0.0,
    )


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    yield (
        f"{report.workers} workers that answer at once, {report.steps:,} steps of {report.batch}"
        f" documents in {report.shards} shards"
    )
    yield ""
    yield (
        f"{report.steps_per_s:,.0f} steps/s by the median step,"
        f" {report.messages_per_s:,.0f} messages/s both ways"
    )
    yield (
        f"processor time: coordinator {report.coordinator_cpu:.0%} of the run,"
        f" {report.cpu_us:.0f} us a message; all workers {report.swarm_cpu:.0%}"
    )
    phases = report.settled.phases_s
    if phases:
        parts = ", ".join(f"{name} {1e6 * seconds:,.0f}" for name, seconds in phases.items())
        yield f"us of a step: {parts}"
    memory = report.memory
    yield (
        f"memory of the coordinator: {memory.early_mb:.1f} MB after a tenth of the steps,"
        f" {memory.end_mb:.1f} MB at the end, {memory.high_mb:.1f} MB at most;"
        f" {memory.slope_mb:+.3f} MB for 1,000 steps"
    )
    if report.steps < JUDGED_STEPS:
        return
    growth_mb = memory.end_mb - memory.early_mb
    verdict = "met" if growth_mb < GROWTH_MB_MAX else "missed"
    yield f"goal {verdict}: memory grew by {growth_mb:.1f} MB; wanted below {GROWTH_MB_MAX:g}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swarm")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256, help="Documents of a step.")
    parser.add_argument("--shards", type=int, default=64, help="At least one for each worker.")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, default=Path(), help="Where the run is kept.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args(arguments)
    if not 1 <= options.workers <= options.shards:
        parser.error(f"expected a shard for each of {options.workers} workers: {options.shards}")
    return options


if __name__ == "__main__":
    main()
