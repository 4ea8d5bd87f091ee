"""From flags, preset and whatever the run directory holds to the run that is meant."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cli.dataset import Dataset, load_dataset
from cli.errors import UsageError
from cli.presets import DEFAULT_PRESET, PRESETS
from coordinator.checkpoint import Checkpoint
from coordinator.errors import RunDirectoryError
from coordinator.run_directory import RunDirectory
from engine.config import ModelConfig, TrainConfig
from engine.optimizer import learning_rate
from engine.run import Run, prepare_run
from engine.shards import cursor, hold_out

RESUME_NEVER, RESUME_ALWAYS, RESUME_AUTO = "never", "always", "auto"
MAY_CHANGE = ("steps",)  # what a resumed run may be given anew

_MODEL_FIELDS = [field.name for field in fields(ModelConfig) if field.name != "vocab_size"]
_TRAIN_FIELDS = [field.name for field in fields(TrainConfig)]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, ready to be trained.

    Attributes:
        resumed: the checkpoint to go on from, or None.
    """

    run: Run
    dataset: Dataset
    resumed: Checkpoint | None

    @property
    def beginning(self) -> str:
        """Say where it goes on, for people; empty if it begins."""
        return "" if self.resumed is None else f", from step {self.resumed.step}"


def plan_run(
    directory: RunDirectory,
    resume: str,
    preset: str | None,
    flags: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Plan:
    """Decide what to train.

    Args:
        preset: None if nothing was said.
        flags: the fields of TrainConfig and ModelConfig, and `data`; None where nothing was said.
        warn: told, a line each, what a person should know.

    Raises:
        RunDirectoryError: the directory holds a run that was not asked for, or none that was.
        ConfigError, DatasetError, UsageError: the run cannot be.
    """
    said = {name: value for name, value in flags.items() if value is not None}
    checkpoint = _checkpoint(directory, resume, warn)
    if checkpoint is None:
        plan = _new_plan(preset or DEFAULT_PRESET, said, warn)
    else:
        _check_preset(directory, checkpoint, preset, said)
        plan = _resumed_plan(directory, checkpoint, said, warn)
    _warn_of_cuts(plan, warn)
    return plan


def check_resumable(directory: RunDirectory, resume: str) -> None:
    """Make sure that there is something to resume, before the directory is made.

    Raises:
        RunDirectoryError: there is nothing, and it was to be resumed.
    """
    if resume == RESUME_ALWAYS and not directory.checkpoints.steps():
        raise RunDirectoryError(
            f"expected a valid checkpoint to resume from, got none — {directory.path};"
            " check --run-dir, or leave --resume out"
        )


def _checkpoint(
    directory: RunDirectory, resume: str, warn: Callable[[str], None]
) -> Checkpoint | None:
    """Find the checkpoint to go on from; None is a run that begins, over nobody's metrics.

    A run that was killed before its first checkpoint was durable begins again, and may have lines
    already; but its start was counted before it wrote any.
    """
    check_resumable(directory, resume)
    checkpoint, complaints = directory.checkpoints.newest()
    if checkpoint is not None and resume == RESUME_NEVER:
        raise RunDirectoryError(
            f"expected a new run directory, got one with a run in it — {directory.path};"
            " add --resume to go on with it, or give another --run-dir"
        )
    for complaint in complaints:
        warn(f"passed over a checkpoint: {complaint}")
    if checkpoint is None and complaints:
        raise RunDirectoryError(
            f"expected a valid checkpoint, got {len(complaints)} that are all damaged"
            f" — {directory.checkpoints.path}; give another --run-dir"
        )
    metrics = directory.metrics
    has_lines = checkpoint is None and metrics.exists() and metrics.stat().st_size > 0
    if has_lines and not directory.has_begun:
        raise RunDirectoryError(
            f"expected a new run directory, got one with metrics of another run — {metrics};"
            " give another --run-dir, or move that file away"
        )
    return checkpoint


def _new_plan(preset: str, said: Mapping[str, Any], warn: Callable[[str], None]) -> Plan:
    chosen = {**PRESETS[preset], **said}
    if "shards" not in said:  # the preset's cut need not fit another batch
        chosen["shards"] = max(1, min(chosen["shards"], chosen["batch_size"]))
    train = TrainConfig(**{name: chosen[name] for name in _TRAIN_FIELDS if name in chosen})
    shape = {name: chosen[name] for name in _MODEL_FIELDS if name in chosen}
    dataset = load_dataset(said.get("data", "names"), warn)
    is_too_little = not all(hold_out(dataset.texts, train.seed, train.held_out))
    if "held_out" not in said and train.held_out and is_too_little:
        run = prepare_run(dataset.texts, replace(train, held_out=0.0), shape)
        warn("the documents are too few to hold any out; all of them are trained on")
    else:
        run = prepare_run(dataset.texts, train, shape)
    return Plan(run, dataset, None)


def _check_preset(
    directory: RunDirectory, checkpoint: Checkpoint, preset: str | None, said: Mapping[str, Any]
) -> None:
    """Refuse a preset that is not the run's, as far as the documents of a step give it away.

    Raises:
        RunDirectoryError: it is not.
    """
    if preset is None or "batch_size" in said:
        return
    recorded, batch_size = checkpoint.train.batch_size, PRESETS[preset]["batch_size"]
    if batch_size != recorded:
        raise RunDirectoryError(
            f"expected a preset of {recorded} documents a step as recorded, got {preset!r} of"
            f" {batch_size} — {directory.path}; leave --preset out, or start a new run"
        )


def _resumed_plan(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    said: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Plan:
    recorded = {**asdict(checkpoint.model), **asdict(checkpoint.train)}
    for name, value in said.items():
        if name in recorded and name not in MAY_CHANGE and value != recorded[name]:
            raise RunDirectoryError(
                f"expected {name} {recorded[name]!r} as recorded, got {value!r}"
                f" — {directory.path}; leave the flag out, or start a new run"
            )
    dataset = load_dataset(said.get("data", checkpoint.dataset.name), warn)
    if dataset.sha256 != checkpoint.dataset.sha256:
        raise RunDirectoryError(
            f"expected the dataset {checkpoint.dataset.name!r} with sha256"
            f" {checkpoint.dataset.sha256[:12]} as recorded, got {dataset.name!r} with"
            f" {dataset.sha256[:12]} — {directory.path}; give --data the recorded file"
        )
    steps = said.get("steps", checkpoint.train.steps)
    if steps < checkpoint.step:
        raise UsageError(
            f"expected {checkpoint.step} steps or more, as many as are done, got {steps}"
            f" — {directory.path}; raise --steps"
        )
    if steps != checkpoint.train.steps and checkpoint.train.schedule != "constant":
        new, old = (
            learning_rate(replace(checkpoint.train, steps=count), checkpoint.step)
            for count in (steps, checkpoint.train.steps)
        )
        warn(
            f"the learning rate now falls until step {steps}, not {checkpoint.train.steps}, and"
            f" goes on at {new:.3g} instead of {old:.3g}: the bits are those of neither run from"
            " its start"
        )
    train = replace(checkpoint.train, steps=steps)
    shape = {name: getattr(checkpoint.model, name) for name in _MODEL_FIELDS}
    run = prepare_run(dataset.texts, train, shape)
    _check_same(directory, checkpoint, run)
    return Plan(run, dataset, checkpoint)


def _check_same(directory: RunDirectory, checkpoint: Checkpoint, run: Run) -> None:
    """Make sure that what is prepared here is what the run began with, and stands where it did.

    Raises:
        RunDirectoryError: it is not; another version may shuffle or split otherwise.
    """
    found = {
        "vocabulary": run.tokenizer.characters,
        "generator": run.rng_state,
        "cursor": cursor(checkpoint.step, run.train.batch_size, len(run.documents)),
    }
    recorded = {
        "vocabulary": checkpoint.characters,
        "generator": checkpoint.rng_state,
        "cursor": checkpoint.cursor or found["cursor"],
    }
    for name, value in found.items():
        if value != recorded[name]:
            raise RunDirectoryError(
                f"expected the {name} of the run, got another one — {directory.path};"
                " resume with the version of gradflock that it began with"
            )


def _warn_of_cuts(plan: Plan, warn: Callable[[str], None]) -> None:
    block_size = plan.run.model.block_size
    cut = [text for text in plan.dataset.texts if len(text) + 1 > block_size]
    if cut:
        warn(
            f"{len(cut):,} of {len(plan.dataset.texts):,} documents are longer than"
            f" {block_size - 1} characters and are cut to {block_size} positions;"
            " raise --block-size to keep them whole"
        )
