"""`python -m benchmarks.sampler RUN_DIR`: what the sampler costs, and how many samples it draws.

First the drawing alone, beside PyTorch drawing the same batch with a KV cache of its own, by turns.
Then a real sampler under load: requests for one name each, at a steady rate, through HTTP, beside
connections that are idle; with --train, beside a training run with one worker, whose steps/s are
compared with those of a run beside an idle sampler.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.machine import ONE_THREAD, machine_facts
from benchmarks.processes import cpu_s
from benchmarks.timing import Spread
from coordinator.run_directory import RunDirectory
from sampler.model import ServedModel
from sampler.order import Order, Settings
from sampler.sampling import draw_all

try:
    from benchmarks.torch_sampler import torch_sampler
except ImportError:  # PyTorch is measured where it is installed
    torch_sampler = None  # type: ignore[assignment]

BATCHES = (1, 16, 128, 1000)
RATE_PER_S = 50.0
IDLE = 200  # connections that say nothing
BODY = json.dumps({"prompt": "", "n": 1, "max_tokens": 16, "temperature": 0.5})
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """How many samples were drawn in a second, so many side by side."""

    name: str
    batch: int
    samples_per_s: Spread


@dataclass(frozen=True, slots=True)
class Load:
    """What requests at a steady rate have met."""

    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cpu_ms_per_request: float  # of the sampler
    client_cpu_ms_per_request: float  # of those who ask, on the same cores


def main() -> None:
    options = _parse(sys.argv[1:])
    checkpoint, _ = RunDirectory(options.run_dir).checkpoints.newest()
    if checkpoint is None:
        sys.exit(f"expected a run with a checkpoint, got none - {options.run_dir}")
    model = ServedModel(checkpoint)
    print("  ".join(f"{name} {value}" for name, value in machine_facts().items()))
    drawers: dict[str, Callable[[int, int], object]] = {
        "ours, float64": lambda n, seed: draw_all(Order(model, ((),), n, Settings(), seed))
    }
    if torch_sampler is not None:
        drawers |= torch_sampler(checkpoint)
    report: dict[str, object] = {"drawn": [asdict(one) for one in _draw(drawers, options.rounds)]}
    for one in report["drawn"]:  # type: ignore[attr-defined]
        spread = one["samples_per_s"]
        print(
            f"{one['name']:24} batch {one['batch']:>5}: {spread['median']:>8,.0f} samples/s"
            f" ({spread['low']:,.0f} to {spread['high']:,.0f})"
        )
    with _sampler(options.run_dir) as (process, port):
        load = _load(process.pid, port, options.seconds)
        report["load"] = asdict(load)
        print(_sentence("alone", load))
        if options.train:
            report["training"] = _beside_training(process.pid, port, options.seconds)
    if options.json:
        print(json.dumps(report))


def _draw(drawers: dict[str, Callable[[int, int], object]], rounds: int) -> Iterator[Drawn]:
    taken: dict[tuple[str, int], list[float]] = {}
    for seed in range(rounds):
        for batch in BATCHES:
            for name, draw in drawers.items():
                began_s = time.perf_counter()
                draw(batch, seed)
                per_s = batch / (time.perf_counter() - began_s)
                taken.setdefault((name, batch), []).append(per_s)
    for (name, batch), rates in taken.items():
        yield Drawn(name, batch, Spread.of(rates))


@contextmanager
def _sampler(run_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start a sampler on a run; give the process and the port of its HTTP door."""
    arguments = ["serve", f"--run-dir={run_dir}", "--bind=tcp://127.0.0.1:0", "--http=127.0.0.1:0"]
    command = [sys.executable, "-m", "cli", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    assert process.stderr is not None
    try:
        port = 0
        for line in process.stderr:
            if line.startswith("HTTP at "):
                port = int(line.rpartition(":")[2])
            if line.startswith("sampler at "):
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, port
    finally:
        process.terminate()
        process.wait()


def _load(pid: int, port: int, seconds: float) -> Load:
    """Ask at a steady rate, whether or not earlier requests were answered."""
    idle = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(IDLE)]
    for connection in idle:
        connection.connect()
    taken_ms: list[float] = []
    errors: list[object] = []
    count = int(RATE_PER_S * seconds)
    before_s, before_here_s = cpu_s(pid), time.process_time()
    start_s = time.perf_counter() + 0.1
    threads = 16  # each asks every 16th request: none waits for the one before
    workers = [
        threading.Thread(
            target=_ask, args=(port, start_s, range(first, count, threads), taken_ms, errors)
        )
        for first in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cpu_ms = 1000 * (cpu_s(pid) - before_s) / count
    here_ms = 1000 * (time.process_time() - before_here_s) / count
    for connection in idle:
        connection.close()
    ordered = sorted(taken_ms)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return Load(count, len(errors), median(ordered), p99, ordered[-1], cpu_ms, here_ms)


def _ask(
    port: int, start_s: float, numbers: range, taken_ms: list[float], errors: list[object]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in numbers:
        due_s = start_s + number / RATE_PER_S
        time.sleep(max(0.0, due_s - time.perf_counter()))
        try:
            connection.request("POST", "/v1/completions", BODY, HEADERS)
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                errors.append(reply.status)
        except OSError as error:
            errors.append(error)
            connection.close()
        taken_ms.append(1000 * (time.perf_counter() - due_s))
    connection.close()


def _beside_training(pid: int, port: int, seconds: float) -> dict[str, object]:
    """Train with one worker, by turns beside a sampler that is idle and one that is asked."""
    rates: dict[str, list[float]] = {"idle": [], "asked": []}
    loads = []
    for _ in range(3):
        rates["idle"].append(_train(seconds, lambda: time.sleep(seconds)))
        rates["asked"].append(_train(seconds, lambda: loads.append(_load(pid, port, seconds))))
    for load in loads:
        print(_sentence("beside training", load))
    idle, asked = median(rates["idle"]), median(rates["asked"])
    taken = [load.cpu_ms_per_request + load.client_cpu_ms_per_request for load in loads]
    cores = median(taken) / 1000 * RATE_PER_S
    print(
        f"training, steps/s: {idle:.1f} beside an idle sampler, {asked:.1f} beside one that is"
        f" asked: {asked / idle:.3f}; sampler and client used {cores:.3f} of a core, which explains"
        f" {1 - cores:.3f} if it is the core that a step is on, {1 - cores / 2:.3f} if one of two"
    )
    return {"steps_per_s": rates, "loads": [asdict(load) for load in loads]}


def _train(seconds: float, meanwhile: Callable[[], object]) -> float:
    """Give the steps/s of a run with one worker while something else goes on."""
    with tempfile.TemporaryDirectory(prefix=".sampler-") as scratch:
        run_dir = Path(scratch) / "run"
        flags = ["--workers=1", "--steps=1000000", "--data=bundled", "--schedule=constant"]
        doors = ["--sampler-bind=tcp://127.0.0.1:0", "--http=off"]
        command = [sys.executable, "-m", "cli", "train", f"--run-dir={run_dir}", *flags, *doors]
        with subprocess.Popen(command, stdout=-3, stderr=-3, env=ONE_THREAD) as process:
            metrics = run_dir / "metrics.jsonl"
            while not metrics.exists() or _lines(metrics) < 100:
                time.sleep(0.05)
            first, began_s = _lines(metrics), time.perf_counter()
            meanwhile()
            rate = (_lines(metrics) - first) / (time.perf_counter() - began_s)
            process.terminate()
    return rate


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _sentence(where: str, load: Load) -> str:
    return (
        f"{where}: {load.requests} requests at {RATE_PER_S:g}/s beside {IDLE} idle connections:"
        f" p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, worst {load.worst_ms:.1f} ms,"
        f" {load.errors} errors, {load.cpu_ms_per_request:.2f} ms of CPU for each,"
        f" {load.client_cpu_ms_per_request:.2f} ms of the client's"
    )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="whose newest checkpoint is served")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--train", action="store_true", help="also beside training, 6 loads more")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
