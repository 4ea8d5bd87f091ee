# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""`python -m benchmarks.gloo_peer COUNT`: all_reduce of a gradient by gloo, two processes.

Prints the seconds of each, as JSON: the least that a step of DistributedDataParallel waits for.
"""

import json
import sys
import tempfile
import time

import torch
from torch import distributed, multiprocessing

from benchmarks.transport_rows import PARAMS

WARM_UP = 50


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (int(sys.argv[1]), f"file://{scratch}/meeting")
        multiprocessing.spawn(reduce, arguments, nprocs=2)


def reduce(rank: int, count: int, meeting: str) -> None:
    """Be one rank; the first prints what it has measured."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    gradient = torch.zeros(PARAMS, dtype=torch.float64)
    seconds = []
    for _ in range(WARM_UP + count):
        began_s = time.perf_counter()
        distributed.all_reduce(gradient)
        seconds.append(time.perf_counter() - began_s)
    if rank == 0:
        print(json.dumps(seconds[WARM_UP:]))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
