"""`python -m benchmarks.scaling`: what more workers bring, with PyTorch's DDP beside us.

Real runs, a coordinator and workers on loopback, plain sockets, for each number of workers and each
global batch; and DistributedDataParallel (`benchmarks/ddp_peer.py`) with the same documents, by
turns in one run. Each round begins with another of them, and ratios are taken within a round. What
counts is the median step of a run once all workers have joined: a run also starts, saves and ends.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.ddp import Torch, find_torch, measure_ddp
from benchmarks.machine import machine_facts
from benchmarks.runs import train
from benchmarks.scaling_report import (
    DDP,
    OURS,
    TUNED,
    Cell,
    Report,
    Round,
    Sample,
    lines_from,
    lines_of,
    serial_fractions,
)
from cli.dataset import NAMES, load_dataset

HARDLY_EVER = "1000000"  # steps between saves: at the start and the end only
SHARDS = 8  # of the preset `names`


def main() -> None:
    options = _parse(sys.argv[1:])
    options.data = load_dataset(options.data, partial(print, file=sys.stderr)).name
    torch = Torch(problem="--no-torch") if options.no_torch else find_torch(options.torch_python)
    shards = {batch: options.shards.get(batch, options.shards.get(0)) for batch in options.batches}
    cells = cells_of(options.workers, options.batches, has_torch=bool(torch.python))
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(dir=options.directory, prefix=".scaling-") as scratch:
        for index in range(options.rounds):
            first = index % len(cells)
            measured = {
                cell: _measure(
                    cell, Path(scratch) / f"{index}-{place}", shards, torch.python, options
                )
                for place, cell in enumerate(cells[first:] + cells[:first])
            }
            rounds.append({cell: measured[cell] for cell in cells})
    report = Report(
        machine=machine_facts() | {"torch": torch.version or "none"},
        dataset=options.data,
        shards=shards,
        steps=options.steps,
        rounds=options.rounds,
        torch=torch.problem,
        lines=lines_from(rounds),
        serial_fractions=serial_fractions(rounds),
    )
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def cells_of(workers: Sequence[int], batches: Sequence[int], has_torch: bool) -> list[Cell]:
    """Give what is measured; the peer has one process, two, and two that are tuned."""
    cells = []
    for batch in batches:
        cells += [Cell(OURS, batch, count) for count in workers]
        if has_torch:
            cells += [Cell(DDP, batch, 1), Cell(DDP, batch, 2), Cell(TUNED, batch, 2)]
    return cells


def _measure(
    cell: Cell, run_dir: Path, shards: dict[int, int], python: str, options: argparse.Namespace
) -> Sample:
    if cell.kind != OURS:
        is_tuned = cell.kind == TUNED
        measured = measure_ddp(
            python, options.data, cell.workers, cell.batch, is_tuned, options.torch_steps
        )
        return Sample(1 / measured.steps_per_s)
    flags = [
        f"--data={options.data}",
        f"--steps={options.steps}",
        f"--batch-size={cell.batch}",
        f"--shards={shards[cell.batch]}",
        "--held-out=0",
        f"--checkpoint-every={HARDLY_EVER}",
    ]
    run = train(run_dir, flags, cell.workers).settled
    return Sample(run.step_s, run.overhead_s, run.phases_s)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def shards_by_batch(text: str) -> dict[int, int]:
    """Read N for all batches, which are 0 here, or BATCH:N,BATCH:N for some of them."""
    shards = {0: SHARDS}
    for part in text.split(","):
        batch, _, count = part.rpartition(":")
        shards[int(batch or 0)] = int(count)
    return shards


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--data", default=NAMES, metavar="names|bundled|PATH")
    parser.add_argument("--workers", type=_numbers, default=[1, 2], metavar="N,N")
    parser.add_argument("--batches", type=_numbers, default=[64, 512], metavar="N,N")
    parser.add_argument(
        "--shards",
        type=shards_by_batch,
        default={0: SHARDS},
        metavar="N|BATCH:N,BATCH:N",
        help="Default 8.",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000, help="Of a run of ours.")
    parser.add_argument("--torch-steps", type=int, default=300, help="Of a run of the peer.")
    parser.add_argument("--torch-python", type=Path, help="An interpreter that has PyTorch.")
    parser.add_argument("--no-torch", action="store_true", help="Without the peer.")
    parser.add_argument("--directory", type=Path, default=Path(), help="Where runs are kept.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
