"""How long a process takes until its compiled engine is ready for every length, and its memory.

`measure_starts` starts `python -m benchmarks.start_engine`, first with an empty directory for
compiled kernels (cold), then with the one that it left behind (warm).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.shards import Shards
from cli.kernels import make_engine
from engine.config import ModelConfig
from engine.params import Flat

RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Start:
    """One process: seconds from its start until it was ready, its greatest memory, and how much
    its cache held at the end."""

    ready_s: float
    rss_mb: float
    cache_mb: float


def measure_starts(
    model: ModelConfig, params: Flat, shards: Shards, repeats: int
) -> dict[str, list[Start]]:
    """Start cold and warm by turns; the memory is read when `shards` have been differentiated."""
    told = json.dumps({"model": asdict(model), "params": list(params), "shards": shards})
    starts: dict[str, list[Start]] = {"cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for samples in starts.values():
                samples.append(_start(told, cache))
    return starts


def _start(told: str, cache: str) -> Start:
    began_s = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.start_engine"],
        input=told,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"GRADFLOCK_CACHE_DIR": cache},
    )
    said = json.loads(child.stdout)
    cache_bytes = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
    return Start(said["ready_at_s"] - began_s, said["rss_bytes"] / 1e6, cache_bytes / 1e6)


def main() -> None:
    told: dict[str, Any] = json.load(sys.stdin)
    model = ModelConfig(**told["model"])
    params = array("d", told["params"])
    engine = make_engine("compiled", model, partial(print, file=sys.stderr))
    for positions in range(1, model.block_size + 1):
        engine.gradient(params, [[0] * (positions + 1)] * 2)
    ready_at_s = time.monotonic()  # one clock for all processes of a machine
    for shard in told["shards"]:
        engine.gradient(params, shard)
    print(json.dumps({"ready_at_s": ready_at_s, "rss_bytes": _rss_bytes()}))


def _rss_bytes() -> int:
    """Give the greatest memory of this process."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES
    # On Linux getrusage remembers, through exec, how large the process was that started this one.
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
