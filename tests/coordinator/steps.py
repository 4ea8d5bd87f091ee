"""Steps as metrics know them."""

import json
from pathlib import Path

from coordinator.facts import StepCommitted
from coordinator.metrics import Metrics


def committed(step: int) -> StepCommitted:
    return StepCommitted(step, 1.0 / (step + 2), 8, 0.5, 2, 0.01)


def written(path: Path, *steps: int) -> str:
    """The text of a file to which these steps were appended."""
    with Metrics(path, 0) as metrics:
        for step in steps:
            metrics.append(committed(step))
    return path.read_text()


def steps_in(path: Path) -> list[tuple[int, float | None]]:
    """Each line's step and held-out loss; -1 where there is none."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["step"], line.get("held_out_loss", -1)) for line in lines]
