"""A run directory with a tiny run in it, as the commands find it."""

from pathlib import Path
from typing import Any

from cli.plan import Plan, plan_run
from coordinator.checkpoint import Checkpoint
from coordinator.run_directory import RunDirectory
from engine.optimizer import Moments

TEXT = "abba\nba\na\nbab\naab\nb\nabab\n"
FLAGS = {"steps": 9, "batch_size": 2, "shards": 1, "n_embd": 2, "n_head": 1, "held_out": 0.0}


def data_file(path: Path, text: str = TEXT) -> str:
    file = path / "documents.txt"
    file.write_text(text)
    return str(file)


def plan_of(
    path: Path, resume: str = "never", preset: str | None = None, **flags: Any
) -> tuple[Plan, list[str]]:
    """Plan a run over the tiny dataset; also give what people are warned of."""
    said: list[str] = []
    (path / "run").mkdir(parents=True, exist_ok=True)
    data = flags.pop("data", None) or data_file(path)
    directory = RunDirectory(path / "run")
    return plan_run(directory, resume, preset, {"data": data, **flags}, said.append), said


def save(path: Path, plan: Plan, step: int = 3, loss: float | None = 1.25) -> RunDirectory:
    """Leave the checkpoint that a run would leave after `step` steps."""
    directory = RunDirectory(path / "run")
    with directory.lock():
        directory.checkpoints.save(
            Checkpoint(
                run="5f" * 16,
                step=step,
                loss=loss,
                model=plan.run.model,
                train=plan.run.train,
                dataset=plan.dataset.record,
                characters=plan.run.tokenizer.characters,
                rng_state=plan.run.rng_state,
                params=plan.run.params,
                moments=Moments.zeros(plan.run.model.num_params),
            )
        )
    return directory
