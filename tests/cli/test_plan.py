"""From flags, preset and run directory to the run that is meant, or to a reason why not."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.errors import UsageError
from cli.plan import Plan, plan_run
from cli.presets import PRESETS
from coordinator.errors import RunDirectoryError
from coordinator.run_directory import RunDirectory
from engine.config import TrainConfig
from engine.errors import ConfigError, DatasetError
from engine.shards import Cursor
from tests.cli.runs import FLAGS, TEXT, data_file, plan_of, save

pytestmark = pytest.mark.unit


def numbers_of(plan: Plan) -> list[object]:
    """All that decides the numbers of a run."""
    run = plan.run
    return [run.model, run.train, run.documents, run.held_out, run.params, run.rng_state]


# ---- a new run ----------------------------------------------------------------------------------


def test_a_preset_decides_what_no_flag_says(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, preset="microgpt")

    assert plan.run.train == TrainConfig(steps=1000, batch_size=1, shards=1, seed=42)
    assert plan.run.model.n_embd == 16
    assert plan.resumed is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_run(tmp_path: Path, name: str) -> None:
    plan, _ = plan_of(tmp_path, preset=name, data="bundled")

    assert plan.run.train.steps == PRESETS[name]["steps"]


def test_a_flag_overrides_its_preset(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, preset="microgpt", steps=7, n_embd=8, n_head=None, seed=0)

    assert (plan.run.train.steps, plan.run.train.seed) == (7, 0)
    assert (plan.run.model.n_embd, plan.run.model.n_head) == (8, 4)


@pytest.mark.parametrize(("batch_size", "shards"), [(1, 1), (3, 3), (8, 8), (100, 8)])
def test_the_shards_of_a_preset_follow_a_smaller_batch(
    tmp_path: Path, batch_size: int, shards: int
) -> None:
    plan, _ = plan_of(tmp_path, batch_size=batch_size, held_out=0.0)

    assert plan.run.train.shards == shards


def test_shards_that_were_asked_for_do_not_follow(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 8 shards for a batch of 3"):
        plan_of(tmp_path, batch_size=3, shards=8)


@pytest.mark.parametrize(
    "flags",
    [{"batch_size": 0}, {"steps": 0}, {"n_embd": 3}, {"learning_rate": 0.0}, {"held_out": 1.0}],
)
def test_a_run_that_cannot_be_is_refused(tmp_path: Path, flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        plan_of(tmp_path, **flags)


def test_a_preset_holds_nothing_out_of_few_documents_and_says_so(tmp_path: Path) -> None:
    plan, said = plan_of(tmp_path, preset="names")

    assert plan.run.train.held_out == 0.0
    assert len(plan.run.documents) == 7
    assert said == ["the documents are too few to hold any out; all of them are trained on"]


def test_a_fraction_that_was_asked_for_is_refused_if_nothing_would_be_held_out(
    tmp_path: Path,
) -> None:
    with pytest.raises(DatasetError, match="expected documents on both sides"):
        plan_of(tmp_path, held_out=0.05)


def test_a_dataset_with_too_little_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least 2 different characters"):
        plan_of(tmp_path, data=data_file(tmp_path, "aaa\na\n"))


def test_documents_that_will_be_cut_are_warned_of_once(tmp_path: Path) -> None:
    data = data_file(tmp_path, "abab\nababa\nbababab\nab\n")

    _, said = plan_of(tmp_path, data=data, block_size=5, held_out=0.0)

    assert said == [
        "2 of 4 documents are longer than 4 characters and are cut to 5 positions;"
        " raise --block-size to keep them whole"
    ]


def test_documents_that_fit_are_no_reason_to_warn(tmp_path: Path) -> None:
    assert plan_of(tmp_path, block_size=5, held_out=0.0)[1] == []


def test_a_directory_with_a_run_in_it_is_no_place_for_a_new_one(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, plan)

    with pytest.raises(RunDirectoryError, match="add --resume") as refusal:
        plan_of(tmp_path, **FLAGS)

    assert str(tmp_path / "run") in str(refusal.value)


@pytest.mark.parametrize("resume", ["never", "auto"])
def test_metrics_that_nobody_began_here_are_not_written_over(tmp_path: Path, resume: str) -> None:
    """A file of another tool's, or all that is left of a run whose other files were removed."""
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        directory.metrics.write_text('{"step": 1}\n')

    with pytest.raises(RunDirectoryError, match="got one with metrics of another run") as refusal:
        plan_of(tmp_path, resume, **FLAGS)

    assert str(directory.metrics) in str(refusal.value)
    assert "move that file away" in str(refusal.value)
    assert directory.metrics.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("resume", ["never", "auto"])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, resume: str
) -> None:
    """`train` starts its coordinator again, with the flags of the first time."""
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        directory.next_generation()
        directory.metrics.write_text('{"step": 1}\n')

    assert plan_of(tmp_path, resume, **FLAGS)[0].resumed is None


@pytest.mark.parametrize("resume", ["never", "auto"])
def test_an_empty_file_for_metrics_is_in_nobodys_way(tmp_path: Path, resume: str) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.lock():
        directory.metrics.touch()

    assert plan_of(tmp_path, resume, **FLAGS)[0].resumed is None


# ---- a resumed run ------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", ["always", "auto"])
def test_a_run_goes_on_from_its_checkpoint_without_any_flag(tmp_path: Path, resume: str) -> None:
    before, _ = plan_of(tmp_path, **FLAGS, activation="relu2", norm="layer")
    save(tmp_path, before, step=3)

    plan, said = plan_of(tmp_path, resume)

    assert plan.resumed is not None
    assert plan.resumed.step == 3
    assert numbers_of(plan) == numbers_of(before)
    assert said == []


def test_a_run_from_before_there_was_a_choice_of_norms_has_rms_norms(tmp_path: Path) -> None:
    directory = save(tmp_path, plan_of(tmp_path, **FLAGS)[0], step=3)
    (data_path,) = directory.checkpoints.path.glob("*.safetensors")
    record_path = data_path.with_suffix(".json")
    data = data_path.read_bytes()
    header_end = 8 + int.from_bytes(data[:8], "little")
    older_header = data[8:header_end].replace(rb"\"norm\":\"rms\",", b"")
    older = data[:8] + older_header.ljust(header_end - 8) + data[header_end:]
    record = {**json.loads(record_path.read_text()), "sha256": hashlib.sha256(older).hexdigest()}
    del record["record_sha256"]  # older records had none
    data_path.write_bytes(older)
    record_path.write_text(json.dumps(record))

    plan, said = plan_of(tmp_path, "always")

    assert older != data
    assert plan.resumed is not None
    assert plan.run.model.norm == "rms"
    assert said == []


@pytest.mark.parametrize("resume", ["always", "auto"])
def test_another_preset_than_the_run_s_is_refused(tmp_path: Path, resume: str) -> None:
    """Ignored, it would leave somebody to wonder at the losses of another run."""
    save(tmp_path, plan_of(tmp_path, preset="microgpt")[0])

    with pytest.raises(RunDirectoryError, match=r"a preset of 1 documents .* got 'names' of 64"):
        plan_of(tmp_path, resume, preset="names")


def test_the_preset_that_a_run_began_with_may_be_said_again(tmp_path: Path) -> None:
    save(tmp_path, plan_of(tmp_path, preset="microgpt")[0])

    assert plan_of(tmp_path, "always", preset="microgpt")[0].run.train.batch_size == 1


def test_a_preset_is_no_contradiction_where_the_batch_is_said_too(tmp_path: Path) -> None:
    """As `train` says it to a coordinator that it starts again."""
    save(tmp_path, plan_of(tmp_path, **FLAGS)[0])

    assert plan_of(tmp_path, "always", preset="names", batch_size=2)[0].run.train.batch_size == 2


def test_the_recorded_dataset_is_read_again(tmp_path: Path) -> None:
    before, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, before)

    plan = plan_run(RunDirectory(tmp_path / "run"), "always", None, {}, pytest.fail)

    assert plan.dataset == before.dataset


def test_more_steps_may_be_asked_for(tmp_path: Path) -> None:
    before, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, before)

    plan, (line,) = plan_of(tmp_path, "always", steps=20)

    assert plan.run.train.steps == 20
    assert line == (
        "the learning rate now falls until step 20, not 9, and goes on at 0.0085 instead of"
        " 0.00667: the bits are those of neither run from its start"
    )


def test_more_steps_at_a_constant_rate_are_nothing_to_warn_of(tmp_path: Path) -> None:
    save(tmp_path, plan_of(tmp_path, **FLAGS, schedule="constant")[0])

    assert plan_of(tmp_path, "always", steps=20)[1] == []


def test_fewer_steps_than_are_done_are_refused(tmp_path: Path) -> None:
    save(tmp_path, plan_of(tmp_path, **FLAGS)[0], step=3)

    assert plan_of(tmp_path, "always", steps=3)[0].run.train.steps == 3
    with pytest.raises(UsageError, match="expected 3 steps or more, as many as are done, got 2"):
        plan_of(tmp_path, "always", steps=2)


def test_flags_that_say_what_is_recorded_are_no_change(tmp_path: Path) -> None:
    before, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, before)

    assert numbers_of(plan_of(tmp_path, "always", **FLAGS)[0]) == numbers_of(before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 3),
        ("shards", 2),
        ("seed", 1),
        ("n_embd", 4),
        ("norm", "layer"),
        ("learning_rate", 0.5),
    ],
)
def test_another_setting_than_the_recorded_one_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    save(tmp_path, plan_of(tmp_path, **FLAGS)[0])

    with pytest.raises(RunDirectoryError, match=rf"expected {name} .* as recorded, got {value!r}"):
        plan_of(tmp_path, "always", **{name: value})


def test_another_dataset_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    save(tmp_path, plan_of(tmp_path, **FLAGS)[0])
    data = data_file(tmp_path, TEXT + "abc\n")

    with pytest.raises(RunDirectoryError, match=r"expected the dataset .* as recorded"):
        plan_of(tmp_path, "always", data=data)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("vocabulary", {"characters": "ba"}),
        ("generator", {"rng_state": random.Random(9).getstate()}),
        ("cursor", {"cursor": Cursor(0, 5)}),
    ],
)
def test_a_run_that_would_go_on_elsewhere_is_refused(
    tmp_path: Path, name: str, changed: dict[str, Any]
) -> None:
    """Another version might shuffle, split or number otherwise, and nobody would notice."""
    directory = save(tmp_path, plan_of(tmp_path, **FLAGS)[0], step=3)
    with directory.lock():
        directory.checkpoints.save(replace(directory.checkpoints.load(3), step=4, **changed))

    with pytest.raises(RunDirectoryError, match=f"expected the {name} of the run, got another"):
        plan_of(tmp_path, "always")


def test_a_run_goes_on_at_its_cursor(tmp_path: Path) -> None:
    directory = save(tmp_path, plan_of(tmp_path, **FLAGS)[0], step=3)
    with directory.lock():
        there = replace(directory.checkpoints.load(3), step=4, cursor=Cursor(1, 1))
        directory.checkpoints.save(there)

    plan, _ = plan_of(tmp_path, "always")

    assert plan.resumed == there
    assert len(plan.run.documents) == 7


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="expected a valid checkpoint to resume from"):
        plan_of(tmp_path, "always", **FLAGS)


def test_automatic_resumption_begins_a_run_where_there_is_none(tmp_path: Path) -> None:
    assert plan_of(tmp_path, "auto", **FLAGS)[0].resumed is None


def test_automatic_resumption_does_not_begin_over_a_run_that_is_spoilt(tmp_path: Path) -> None:
    directory = save(tmp_path, plan_of(tmp_path, **FLAGS)[0])
    next(directory.checkpoints.path.glob("*.safetensors")).write_bytes(b"spoilt")

    with pytest.raises(RunDirectoryError, match="expected a valid checkpoint"):
        plan_of(tmp_path, "auto", **FLAGS)


@pytest.mark.parametrize("resume", ["never", "always", "auto"])
def test_a_run_of_nothing_but_damage_is_left_alone_and_another_directory_advised(
    tmp_path: Path, resume: str
) -> None:
    """Not to add --resume, and then to leave it out."""
    plan, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, plan, step=3)
    directory = save(tmp_path, plan, step=4)
    for path in directory.checkpoints.path.glob("*.safetensors"):
        path.write_bytes(b"spoilt")

    with pytest.raises(RunDirectoryError) as refusal:
        plan_of(tmp_path, resume, **FLAGS)

    assert str(refusal.value) == (
        "expected a valid checkpoint, got 2 that are all damaged"
        f" — {directory.checkpoints.path}; give another --run-dir"
    )


def test_a_spoilt_checkpoint_is_warned_of_and_the_one_before_is_taken(tmp_path: Path) -> None:
    plan, _ = plan_of(tmp_path, **FLAGS)
    save(tmp_path, plan, step=3)
    directory = save(tmp_path, plan, step=4)
    (directory.checkpoints.path / "step-00000004.safetensors").write_bytes(b"spoilt")

    resumed, (line,) = plan_of(tmp_path, "auto", **FLAGS)

    assert resumed.resumed is not None
    assert resumed.resumed.step == 3
    assert line.startswith("passed over a checkpoint: expected ")


def test_the_generator_of_a_resumed_run_is_that_of_its_seed(tmp_path: Path) -> None:
    save(tmp_path, plan_of(tmp_path, **FLAGS, seed=5)[0])
    rng = random.Random()

    plan, _ = plan_of(tmp_path, "always")

    rng.setstate(plan.run.rng_state)
    assert plan.resumed is not None
    assert rng.getstate() == plan.resumed.rng_state
