"""What a dashboard draws: the tree of the open step, and where the time of the last ones went."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.timeline import StepTrace
from engine.tree import Branch


@dataclass(frozen=True, slots=True)
class Picture:
    """One coordinator's steps, at one moment.

    Attributes:
        shards: leaves of the reduction tree.
        step: the open one, counted from 1.
        branches: how each of its branches stands (waiting, leased, summed), and whose it is.
        steps: the last ones that are done, oldest first.
    """

    run: str
    gen: int
    shards: int
    params: int
    step: int
    branches: Sequence[tuple[Branch, str, Sequence[str]]]
    steps: Sequence[StepTrace]

    def to_json(self) -> bytes:
        """Give it as one JSON object; times are seconds, those of a leg from its step's opening."""
        branches = [
            {"lo": lo, "hi": hi, "state": state, "workers": list(workers)}
            for (lo, hi), state, workers in self.branches
        ]
        values = {
            "run": self.run,
            "gen": self.gen,
            "shards": self.shards,
            "params": self.params,
            "tree": {"step": self.step, "branches": branches},
            "steps": [step.to_json() for step in self.steps],
        }
        return json.dumps(values, separators=(",", ":")).encode()
