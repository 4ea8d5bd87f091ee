"""`python -m benchmarks.transport`: how long a message and its answer take between two processes.

A TASK with the parameters of the default model out and a GRAD with as many bytes back, encoded,
checked and decoded on both sides, as a step does for each branch; the smallest pair, PING and PONG;
both also under CURVE. Beside them what lies below, the same bytes each way without a codec: bare
ZeroMQ, and plain sockets; and gloo's all_reduce of such a gradient, which is the peer's way. All by
turns in one run, on one machine.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from benchmarks.ddp import Torch, find_torch, run_peer
from benchmarks.machine import machine_facts
from benchmarks.timing import Spread, brief
from benchmarks.transport_rows import Trip, bare_zmq, messages, tcp_socket, unix_socket

ROWS: Mapping[str, Callable[[], AbstractContextManager[Trip]]] = {
    "TASK and GRAD, plain": partial(messages, "TASK, GRAD", has_keys=False),
    "TASK and GRAD, CURVE": partial(messages, "TASK, GRAD", has_keys=True),
    "PING and PONG, plain": partial(messages, "PING, PONG", has_keys=False),
    "PING and PONG, CURVE": partial(messages, "PING, PONG", has_keys=True),
    "bare ROUTER and DEALER, tcp": bare_zmq,
    "TCP socket": tcp_socket,
    "unix socket": unix_socket,
}
GLOO = "gloo all_reduce"
WARM_UP = 50  # trips


@dataclass(frozen=True, slots=True)
class Line:
    """One row: the medians of its rounds, and the trips of all of them; all in us."""

    name: str
    median_us: Spread
    p10_us: float
    p90_us: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark; `torch` says why gloo is not among the lines."""

    machine: dict[str, str]
    rounds: int
    count: int
    torch: str
    lines: list[Line]


def main() -> None:
    options = _parse(sys.argv[1:])
    torch = Torch(problem="--no-torch") if options.no_torch else find_torch(options.torch_python)
    with ExitStack() as stack:
        rows = {name: _timed(stack.enter_context(row()), WARM_UP) for name, row in ROWS.items()}
        if torch.python:
            rows[GLOO] = partial(_gloo, torch.python)
        rounds = time_trips(rows, options.rounds, options.count)
    lines = [line_of(name, [one[name] for one in rounds]) for name in rows]
    machine = machine_facts() | {"torch": torch.version or "none"}
    report = Report(machine, options.rounds, options.count, torch.problem, lines)
    print(json.dumps(asdict(report)) if options.json else "\n".join(lines_of(report)))


def time_trips(
    rows: Mapping[str, Callable[[int], list[float]]], rounds: int, count: int
) -> list[dict[str, list[float]]]:
    """Time so many trips of each row in each round, which begins with another row.

    Args:
        rows: each gives the seconds of so many trips.
    """
    names = [*rows]
    taken = []
    for index in range(rounds):
        first = index % len(names)
        taken.append({name: rows[name](count) for name in names[first:] + names[:first]})
    return taken


def line_of(name: str, rounds: Sequence[Sequence[float]]) -> Line:
    """Put a row's rounds together; they are in seconds."""
    tenths = quantiles((1e6 * seconds for one in rounds for seconds in one), n=10)
    medians = [1e6 * median(one) for one in rounds]
    return Line(name, Spread.of(medians), p10_us=tenths[0], p90_us=tenths[-1])


def lines_of(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield "  ".join(f"{name} {value}" for name, value in report.machine.items())
    yield (
        f"us for a round trip of 33,536 bytes each way, PING and PONG a few; {report.rounds} rounds"
        f" of {report.count:,} trips: median (lowest to highest of the rounds), p10 and p90 of all"
    )
    yield ""
    yield f"{'':32}{'median':>26}{'p10':>10}{'p90':>10}"
    for line in report.lines:
        yield f"{line.name:32}{brief(line.median_us):>26}{line.p10_us:>10.1f}{line.p90_us:>10.1f}"
    if report.torch:
        yield f"no row of gloo: {report.torch}"


def _timed(trip: Trip, warm_up: int) -> Callable[[int], list[float]]:
    """Give what times trips, after some that are not timed."""

    def time_some(count: int) -> list[float]:
        for _ in range(warm_up):
            trip()
        seconds = []
        for _ in range(count):
            began_s = time.perf_counter()
            trip()
            seconds.append(time.perf_counter() - began_s)
        return seconds

    return time_some


def _gloo(python: str, count: int) -> list[float]:
    seconds: list[float] = json.loads(run_peer(python, "benchmarks.gloo_peer", [str(count)]))
    return seconds


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000, help="Trips of a row in a round.")
    parser.add_argument("--torch-python", type=Path, help="An interpreter that has PyTorch.")
    parser.add_argument("--no-torch", action="store_true", help="Without gloo.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
