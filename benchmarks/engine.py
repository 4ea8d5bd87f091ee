"""`python -m benchmarks.engine`: how fast the engines differentiate, and a peer beside them.

Forward and backward of real shards, all rows by turns in one run on one core, so that the ratios
hold where absolute times drift. The tensors of PyTorch are ready before the clock starts; our
engines begin with lists of tokens, as a worker has them.
"""

import argparse
import gc
import json
import sys
import time
from dataclasses import asdict
from functools import partial

import numpy as np

from benchmarks.flops import mean_flops
from benchmarks.losses import check_losses
from benchmarks.machine import machine_facts, stay_on_one_core
from benchmarks.report import PEER, DatasetFacts, Line, Report, Starts, lines_of
from benchmarks.shards import (
    Shards,
    equal_shards,
    mean_positions,
    mixed_shards,
    row_of,
    single_documents,
)
from benchmarks.start_engine import measure_starts
from benchmarks.timing import Row, Spread, time_rows, times_as_fast
from cli.dataset import NAMES, Dataset, load_dataset
from engine.config import TrainConfig
from engine.engines import engine_of
from engine.run import Run, prepare_run

try:
    from benchmarks.torch_peer import torch_rows
except ImportError as error:
    NO_TORCH = str(error)
else:
    NO_TORCH = ""

MIXED = ((512, 8), (512, 32), (64, 4))  # documents of a step, its shards
LANES = (16, 32, 64)
STARTS = 3  # of each kind
GEMM_N = 1024


def main() -> None:
    options = _parse(sys.argv[1:])
    placement = stay_on_one_core()
    dataset = load_dataset(options.data, partial(print, file=sys.stderr))
    run = prepare_run(dataset.texts, TrainConfig(steps=1, batch_size=512, shards=8), {})
    no_torch = "--no-torch" if options.no_torch else NO_TORCH
    rows = our_rows(run) + ([] if no_torch else torch_rows(run))
    gemm = gemm_row()
    starts = _starts(run, mixed_shards(run.documents, 512, 8))
    gc.freeze()  # collections in the eager engine's graphs need not visit all that PyTorch made
    samples = time_rows([*rows, gemm], options.rounds, time.perf_counter)
    report = Report(
        machine=machine_facts() | {"placement": placement},
        dataset=_facts(dataset, run),
        rounds=options.rounds,
        torch=no_torch,
        lines=[_line(row, samples, bool(no_torch)) for row in rows],
        starts=starts,
        gflops=Spread.of([2 * GEMM_N**3 / seconds / 1e9 for seconds in samples[gemm.name]]),
        flops=mean_flops(run.model, run.documents),
    )
    if options.json:
        print(json.dumps(asdict(report) | {"us_min": report.us_min}))
    else:
        print("\n".join(lines_of(report)))


def our_rows(run: Run) -> list[Row]:
    """Give the rows of our engines, after a look at their losses."""
    eager, compiled = (engine_of(name, run.model) for name in ("eager", "compiled"))
    check_losses(run, partial(compiled.losses, run.params), 1e-12)
    shards_of = {f"({size}, {cut})": mixed_shards(run.documents, size, cut) for size, cut in MIXED}
    shards_of["one document"] = single_documents(run.documents, 96)
    shards_of |= {f"{n} lanes of equal length": equal_shards(run.documents, n) for n in LANES}
    return [
        row_of(
            "eager",
            single_documents(run.documents, 8),
            lambda shard: partial(eager.gradient, run.params, shard),
        ),
        *(
            row_of(
                f"compiled {name}",
                shards,
                lambda shard: partial(compiled.gradient, run.params, shard),
            )
            for name, shards in shards_of.items()
        ),
    ]


def gemm_row() -> Row:
    """Give the row of one large matrix product: the most that arithmetic can do here."""
    a, b = np.random.default_rng(0).random((2, GEMM_N, GEMM_N))
    product = np.empty_like(a)
    return Row("matrix product", 1, 0.0, lambda: np.matmul(a, b, out=product))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine")
    parser.add_argument("--data", default=NAMES, metavar="names|bundled|PATH")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-torch", action="store_true", help="Without the rows of PyTorch.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


def _facts(dataset: Dataset, run: Run) -> DatasetFacts:
    positions = mean_positions(run.documents)
    return DatasetFacts(dataset.name, len(dataset.texts), positions, dataset.sha256)


def _line(row: Row, samples: dict[str, list[float]], is_without_peer: bool) -> Line:
    us = Spread.of([seconds * 1e6 for seconds in samples[row.name]])
    times = None if is_without_peer else times_as_fast(samples, row.name, PEER)
    return Line(row.name, row.documents, row.positions, us, times)


def _starts(run: Run, shards: Shards) -> dict[str, Starts]:
    measured = measure_starts(run.model, run.params, shards, STARTS)
    return {
        name: Starts(
            Spread.of([start.ready_s for start in starts]),
            Spread.of([start.rss_mb for start in starts]),
            Spread.of([start.cache_mb for start in starts]),
        )
        for name, starts in measured.items()
    }


if __name__ == "__main__":
    main()
