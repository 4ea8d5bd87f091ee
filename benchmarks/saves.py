"""`python -m benchmarks.saves`: what it costs to make steps durable, on the disk it is started on.

First one save after another, alone: checkpoint, record, five fsyncs. Then real runs, a coordinator
and a worker each, which save hardly ever, every 5 s, ..., or as often as they can; all of them by
turns in one run, so that the ratios hold where absolute times drift.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.machine import machine_facts
from benchmarks.runs import Trained, train
from benchmarks.timing import Spread, brief
from cli.plan import plan_run
from coordinator.checkpoint import Checkpoint, serialise
from coordinator.run_directory import RunDirectory
from coordinator.store import KEEP
from engine.optimizer import Moments

NEVER = "1000000"
ROWS = {  # name -> flags of the coordinator
    "at the start and the end": ["--held-out=0", f"--checkpoint-every={NEVER}"],
    "every 5 s": ["--held-out=0", "--checkpoint-every=5s"],
    "every 100 steps": ["--held-out=0", "--checkpoint-every=100"],
    "every 10 steps": ["--held-out=0", "--checkpoint-every=10"],
    "every step": ["--held-out=0", "--checkpoint-every=1"],
    "every step, evaluated": ["--held-out=0.05", "--checkpoint-every=1"],
}
BASE = next(iter(ROWS))


@dataclass(frozen=True, slots=True)
class Line:
    """What one row came to, over all rounds; `relative` is its steps/s by those of the base."""

    name: str
    steps_per_s: Spread
    relative: Spread
    worst_step_ms: Spread
    saves: Spread
    save_ms: Spread


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark; a save alone in milliseconds."""

    machine: dict[str, str]
    steps: int
    checkpoint_bytes: int
    alone_ms: Spread
    lines: list[Line]


def main() -> None:
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=options.directory, prefix=".saves-") as scratch:
        alone_ms, size = save_alone(Path(scratch) / "alone", options.saves)
        rounds = []
        for index in range(options.rounds):
            names = [*ROWS][index % len(ROWS) :] + [*ROWS][: index % len(ROWS)]
            runs: dict[str, Trained] = {}
            for name in names:
                run_dir = Path(scratch) / f"{index}-{len(runs)}"
                runs[name] = train(run_dir, [f"--steps={options.steps}", *ROWS[name]])
            rounds.append(runs)
    lines = [_line(name, rounds) for name in ROWS]
    report = Report(machine_facts(), options.steps, size, Spread.of(alone_ms), lines)
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def save_alone(path: Path, count: int) -> tuple[list[float], int]:
    """Save the start of the default run again and again, as so many steps.

    Returns:
        Milliseconds of each save, and the bytes of a checkpoint.
    """
    directory = RunDirectory(path)
    plan = plan_run(directory, "never", "names", {"data": "bundled"}, lambda _: None)
    run = plan.run
    checkpoint = Checkpoint(
        run="5f" * 16,
        step=0,
        loss=None,
        model=run.model,
        train=run.train,
        dataset=plan.dataset.record,
        characters=run.tokenizer.characters,
        rng_state=run.rng_state,
        params=run.params,
        moments=Moments.zeros(run.model.num_params),
    )
    taken_ms = []
    with directory.lock():
        for step in range(count):
            began_s = time.perf_counter()
            directory.checkpoints.save(replace(checkpoint, step=step), KEEP)
            taken_ms.append(1e3 * (time.perf_counter() - began_s))
    return taken_ms, len(serialise(checkpoint))


def _line(name: str, rounds: Sequence[dict[str, Trained]]) -> Line:
    runs = [runs[name] for runs in rounds]
    return Line(
        name=name,
        steps_per_s=Spread.of([run.steps_per_s for run in runs]),
        relative=Spread.of([one[name].steps_per_s / one[BASE].steps_per_s for one in rounds]),
        worst_step_ms=Spread.of([run.worst_step_ms for run in runs]),
        saves=Spread.of([run.saves for run in runs]),
        save_ms=Spread(
            median([ms for run in runs for ms in run.save_ms]),
            min(ms for run in runs for ms in run.save_ms),
            max(ms for run in runs for ms in run.save_ms),
        ),
    )


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    yield (
        f"one save alone, {report.checkpoint_bytes:,} bytes: {brief(report.alone_ms)} ms;"
        " median (lowest to highest)"
    )
    yield f"runs of {report.steps:,} steps with one worker, by turns; they save"
    yield ""
    yield (
        f"{'':26}{'steps/s':>22}  {'of the first row':>22}  {'worst step, ms':>22}"
        f"  {'steps made durable':>20}  {'a save, ms':>22}"
    )
    for line in report.lines:
        yield (
            f"{line.name:26}{brief(line.steps_per_s):>22}  {brief(line.relative):>22}"
            f"  {brief(line.worst_step_ms):>22}  {brief(line.saves):>20}"
            f"  {brief(line.save_ms):>22}"
        )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saves")
    parser.add_argument("--directory", type=Path, default=Path(), help="On which disk.")
    parser.add_argument("--saves", type=int, default=1000, help="Alone, one after another.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000, help="Of a run.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
