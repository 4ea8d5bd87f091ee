"""`python -m benchmarks.curve`: what CURVE costs a run, beside the same run over plain sockets.

Real runs on loopback, a coordinator and one or two workers, with keys and without by turns in one
run, so that the ratios hold where absolute times drift. Every step carries the parameters to each
worker and as many bytes of gradient back for each branch: all of that is encrypted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine_facts
from benchmarks.runs import Trained, train
from benchmarks.timing import Spread, brief

CASES = {  # name -> workers, documents of a step
    "1 worker, 64 documents a step": (1, 64),
    "2 workers, 64 documents a step": (2, 64),
    "1 worker, 512 documents a step": (1, 512),
    "2 workers, 512 documents a step": (2, 512),
}


@dataclass(frozen=True, slots=True)
class Line:
    """What one case came to over all rounds: steps/s, and those with keys by those without."""

    name: str
    plain: Spread
    curve: Spread
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
    with tempfile.TemporaryDirectory(dir=options.directory, prefix=".curve-") as scratch:
        keys = Path(scratch) / "keys"
        new = [sys.executable, "-m", "cli", "keys", "new", "bench", f"--keys={keys}"]
        subprocess.run(new, check=True, stderr=subprocess.DEVNULL)
        rounds = [
            {name: _pair(Path(scratch) / f"{i}-{name}", keys, name, options.steps, i % 2 == 1)
             for name in CASES}
            for i in range(options.rounds)
        ]  # fmt: skip
    lines = [_line(name, [one[name] for one in rounds]) for name in CASES]
    report = Report(machine_facts(), options.steps, options.rounds, lines)
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def _pair(scratch: Path, keys: Path, name: str, steps: int, is_turned: bool) -> list[Trained]:
    """Train without keys and with them, in this order or the other; give the plain run first."""
    workers, documents = CASES[name]
    flags = [f"--steps={steps}", f"--batch-size={documents}", "--held-out=0"]
    scratch.mkdir()
    runs = {}
    for has_keys in (is_turned, not is_turned):
        secure = [f"--keys={keys}"] if has_keys else []
        worker_flags = [f"--key={keys / 'bench.key'}"] if has_keys else []
        runs[has_keys] = train(scratch / str(has_keys), [*flags, *secure], workers, worker_flags)
    return [runs[False], runs[True]]


def _line(name: str, pairs: Sequence[Sequence[Trained]]) -> Line:
    return Line(
        name=name,
        plain=Spread.of([plain.steps_per_s for plain, _ in pairs]),
        curve=Spread.of([curve.steps_per_s for _, curve in pairs]),
        relative=Spread.of([curve.steps_per_s / plain.steps_per_s for plain, curve in pairs]),
    )


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    yield (
        f"{report.rounds} runs of {report.steps:,} steps of each kind, by turns;"
        " steps/s, median (lowest to highest)"
    )
    yield ""
    yield f"{'':34}{'plain':>24}  {'CURVE':>24}  {'CURVE by plain':>24}"
    for line in report.lines:
        spreads = (brief(one) for one in (line.plain, line.curve, line.relative))
        yield f"{line.name:34}" + "  ".join(f"{spread:>24}" for spread in spreads)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve")
    parser.add_argument("--directory", type=Path, default=Path(), help="Where runs are kept.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000, help="Of a run.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
