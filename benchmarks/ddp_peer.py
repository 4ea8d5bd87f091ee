# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""`python -m benchmarks.ddp_peer`: the same training by PyTorch's DistributedDataParallel, on gloo.

The model of `benchmarks/torch_peer.py`, documents and global batches of a run of ours, float64, one
thread in each process. Each rank takes every n-th document of a global batch, as DistributedSampler
deals them, padded to the longest of them; the loss is the mean over them, so that the averaged
gradient is that of the global batch. Before the clock starts it is compared with ours.

Where there was a choice it was made in the peer's favour: the tensors of the steps are ready before
the clock starts, nothing reads the loss, the learning rate stays as it is, nothing is saved, and
one process trains without the wrapper. `--tuned` sets what DistributedDataParallel's documentation
offers for speed, takes the fused Adam, and keeps each rank on a core of its own, as ours are.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing, nn

from benchmarks.torch_peer import Peer, pad
from cli.cores import seats, stay_on, usable_cores
from cli.dataset import NAMES, load_dataset
from cli.kernels import make_engine
from engine.config import ModelConfig, TrainConfig
from engine.params import layout_of
from engine.run import Run, prepare_run
from engine.shards import global_batch

PREPARED_STEPS = 50  # whose tensors are made; training goes through them again and again
WARM_UP_STEPS = 20
TOLERANCE = 1e-9  # of each value of the gradient, which is of size 0.01 to 1
TUNED = {"broadcast_buffers": False, "gradient_as_bucket_view": True, "static_graph": True}

Batch = tuple[Tensor, Tensor]


def main() -> None:
    options = _parse(sys.argv[1:])
    if options.batch % options.processes:
        raise SystemExit(f"expected a batch that {options.processes} can share: {options.batch}")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (options, f"file://{scratch}/meeting")
        multiprocessing.spawn(train, arguments, nprocs=options.processes)


def train(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """Be one rank; the first prints what came of it."""
    torch.set_num_threads(1)
    if options.tuned:
        stay_on(seats(usable_cores(), options.processes).workers[rank])
    distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=options.processes
    )
    dataset = load_dataset(options.data, partial(print, file=sys.stderr))
    config = TrainConfig(steps=options.steps, batch_size=options.batch, shards=1)
    run = prepare_run(dataset.texts, config, {})
    peer = Peer(run.model, run.params, torch.float64)
    model = _wrapped(peer, options.processes, options.tuned)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=options.tuned,
    )
    batches = [
        pad(global_batch(run.documents, step, options.batch)[rank :: options.processes])
        for step in range(min(PREPARED_STEPS, options.steps))
    ]
    differentiate(model, batches[0])
    difference = _difference(run, peer) if rank == 0 else 0.0
    time_steps(model, optimizer, batches, WARM_UP_STEPS)
    distributed.barrier()
    seconds = time_steps(model, optimizer, batches, options.steps)
    if rank == 0:
        print(json.dumps(_result(options, seconds, difference)))
    distributed.barrier()
    distributed.destroy_process_group()


def differentiate(model: nn.Module, batch: Batch) -> None:
    """Leave the gradient of the mean over the global batch in the model's parameters."""
    model.zero_grad(set_to_none=True)
    model(*batch).mean().backward()


def time_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], steps: int
) -> list[float]:
    """Train; give how long each step took."""
    seconds = []
    for step in range(steps):
        began_s = time.perf_counter()
        differentiate(model, batches[step % len(batches)])
        optimizer.step()
        seconds.append(time.perf_counter() - began_s)
    return seconds


def flat_grad(peer: Peer, config: ModelConfig) -> list[float]:
    """Give a peer's gradient in the order of our parameters."""
    parts = {"wte": peer.wte, "wpe": peer.wpe, "lm_head": peer.lm_head}
    tensors = {name: part.weight.grad for name, part in parts.items()}
    for layer, block in enumerate(peer.blocks):
        wq, wk, wv = block.qkv.weight.grad.chunk(3)
        attention = {"wq": wq, "wk": wk, "wv": wv, "wo": block.wo.weight.grad}
        tensors |= {f"layer{layer}.attn_{name}": grad for name, grad in attention.items()}
        tensors |= {
            f"layer{layer}.mlp_fc{i}": linear.weight.grad
            for i, linear in enumerate((block.fc1, block.fc2), start=1)
        }
    flat = torch.cat([tensors[matrix.name].flatten() for matrix in layout_of(config)])
    return [float(value) for value in flat]


def _wrapped(peer: Peer, processes: int, is_tuned: bool) -> nn.Module:
    if processes == 1:
        return peer
    return nn.parallel.DistributedDataParallel(peer, **(TUNED if is_tuned else {}))


def _difference(run: Run, peer: Peer) -> float:
    """Compare the peer's gradient of the first step with ours.

    Raises:
        SystemExit: it is another.
    """
    batch = global_batch(run.documents, 0, run.train.batch_size)
    engine = make_engine("compiled", run.model, partial(print, file=sys.stderr))
    ours = engine.gradient(run.params, batch).grad
    pairs = zip(ours, flat_grad(peer, run.model), strict=True)
    difference = max(abs(mine / len(batch) - theirs) for mine, theirs in pairs)
    if not difference <= TOLERANCE:
        raise SystemExit(
            f"expected our gradient to within {TOLERANCE:g}, got one {difference:g} off"
            " — the peer computes something else"
        )
    return difference


def _result(
    options: argparse.Namespace, seconds: Sequence[float], difference: float
) -> dict[str, Any]:
    steps_per_s = 1 / median(seconds)
    return {
        "processes": options.processes,
        "batch": options.batch,
        "is_tuned": options.tuned,
        "steps": len(seconds),
        "steps_per_s": steps_per_s,
        "documents_per_s": options.batch * steps_per_s,
        "grad_difference": difference,
    }


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ddp_peer")
    parser.add_argument("--data", default=NAMES, metavar="names|bundled|PATH")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--batch", type=int, default=64, help="Documents of a step, of all ranks.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tuned", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
