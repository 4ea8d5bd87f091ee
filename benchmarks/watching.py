"""`python -m benchmarks.watching`: what it costs a run to be watched, beside the same run unseen.

Real runs by turns: unseen; with a timeline file and the norms of gradients; the same with a live
page that one reader has open; and with twenty. Readers take what a browser takes and draw nothing:
on a machine of few cores a browser's own work would be measured.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine_facts
from benchmarks.runs import train
from benchmarks.timing import Spread, brief

UNSEEN = "unseen"
CASES = {  # name -> flags that are watched with, and open pages
    UNSEEN: (False, 0),
    "timeline and gradient norms": (True, 0),
    "the same, and 1 open page": (True, 1),
    "the same, and 20 open pages": (True, 20),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One case over all rounds: steps/s, and those by the unseen run of the same round."""

    name: str
    workers: int
    steps_per_s: Spread
    relative: Spread


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark."""

    machine: dict[str, str]
    steps: int
    rounds: int
    lines: list[Line]


def main() -> None:
    options = _parse(sys.argv[1:])
    names = list(CASES)
    samples: dict[tuple[int, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.directory, prefix=".watching-") as scratch:
        for round_ in range(options.rounds):
            for turn in range(len(names)):
                name = names[(round_ + turn) % len(names)]
                for workers in options.workers:
                    run_dir = Path(scratch) / f"{round_}-{turn}-{workers}"
                    rate = _steps_per_s(run_dir, name, workers, options.steps)
                    samples.setdefault((workers, name), []).append(rate)
    lines = [
        _line(name, workers, samples[workers, name], samples[workers, UNSEEN])
        for workers in options.workers
        for name in names
    ]
    report = Report(machine_facts(), options.steps, options.rounds, lines)
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def _steps_per_s(run_dir: Path, name: str, workers: int, steps: int) -> float:
    is_watched, pages = CASES[name]
    flags = [f"--steps={steps}", "--held-out=0"]
    if is_watched:
        flags += ["--grad-norms", f"--timeline-filename={run_dir}.json"]
    readers = None
    if pages:
        port = _free_port()
        flags.append(f"--dashboard=127.0.0.1:{port}")
        command = [sys.executable, "-m", "benchmarks.readers", str(port), str(pages)]
        readers = subprocess.Popen(command)
    try:
        return 1 / train(run_dir, flags, workers).settled.step_s
    finally:
        if readers is not None:
            readers.terminate()
            readers.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _line(name: str, workers: int, rates: Sequence[float], unseen: Sequence[float]) -> Line:
    relative = [rate / other for rate, other in zip(rates, unseen, strict=True)]
    return Line(name, workers, Spread.of(rates), Spread.of(relative))


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    yield (
        f"{report.rounds} runs of {report.steps:,} steps of 64 documents of each kind, by turns;"
        " steps/s by the median step, median (lowest to highest)"
    )
    yield ""
    yield f"{'':32}{'workers':>8}{'steps/s':>26}{'by the unseen run':>26}"
    for line in report.lines:
        rate, relative = brief(line.steps_per_s), brief(line.relative)
        yield f"{line.name:32}{line.workers:>8}{rate:>26}{relative:>26}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching")
    parser.add_argument("--directory", type=Path, default=Path(), help="Where runs are kept.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4000, help="Of a run.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
