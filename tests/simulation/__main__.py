"""python -m tests.simulation [SEED] [--seeds N] [--mutant NAME]: many worlds, or one in detail."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import simulate

BROKEN_MAX = 10  # after so many, nobody needs more


def main(arguments: Sequence[str] | None = None) -> int:
    mutants = {mutant.name: mutant for mutant in MUTANTS}
    parser = argparse.ArgumentParser(prog="make sim", description="live through seeded worlds")
    parser.add_argument("seed", type=int, nargs="?", help="replay this one, with its trace")
    parser.add_argument("--seeds", type=int, default=200, help="how many, where no SEED is given")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--mutant", choices=mutants, help="plant this bug")
    asked = parser.parse_args(arguments)
    mutant = mutants.get(asked.mutant)
    with nullcontext() if mutant is None else mutant.planted():
        if asked.seed is not None:
            return replay(asked.seed, mutant)
        return sweep(range(asked.first, asked.first + asked.seeds), mutant)


def replay(seed: int, mutant: Mutant | None) -> int:
    """Print all that happens in one world."""
    outcome = simulate(seed, traces=True, alter=None if mutant is None else mutant.alter)
    for line in outcome.trace:
        print(line)
    print(outcome)
    return int(outcome.broken is not None)


def sweep(seeds: range, mutant: Mutant | None) -> int:
    """Live through many worlds; print each that breaks a promise, and what it all came to."""
    began_s = time.perf_counter()
    faults, seen = Counter[str](), Counter[str]()
    lived = broken = calls = 0
    longest_s = 0.0
    for seed in seeds:
        outcome = simulate(seed, alter=None if mutant is None else mutant.alter)
        lived += 1
        faults += outcome.faults
        seen += outcome.seen
        calls += outcome.calls
        longest_s = max(longest_s, outcome.virtual_s)
        if outcome.broken is not None:
            broken += 1
            print(outcome, flush=True)
            if broken == BROKEN_MAX:
                break
    took_s = time.perf_counter() - began_s
    print(
        f"{lived} seeds, {broken} broke a promise; {lived / took_s:.0f} seeds/s,"
        f" {calls / lived:.0f} calls each; the longest took {longest_s:.0f} virtual seconds"
    )
    for name, counts in (("faults", faults), ("seen", seen)):
        print(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
