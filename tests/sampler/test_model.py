"""The model that is served, and how it follows a run that is still being written."""

import random
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint, DatasetRecord
from coordinator.run_directory import RunDirectory
from engine.config import TrainConfig
from engine.errors import UnknownCharacter
from engine.optimizer import Moments
from engine.run import prepare_run
from sampler.model import Follower, ServedModel

pytestmark = pytest.mark.unit

RUN = prepare_run(
    ["abba", "ba", "a", "bab"],
    TrainConfig(9, 2, 2),
    {"n_embd": 2, "n_head": 1, "block_size": 8},
)


def checkpoint(step: int) -> Checkpoint:
    params = array("d", RUN.params)
    params[0] = float(step)
    return Checkpoint(
        run="5f" * 16,
        step=step,
        loss=1.0,
        model=RUN.model,
        train=RUN.train,
        dataset=DatasetRecord("names", 4, "ab" * 32),
        characters=RUN.tokenizer.characters,
        rng_state=RUN.rng_state,
        params=params,
        moments=Moments.zeros(RUN.model.num_params),
    )


def save(path: Path, *steps: int) -> RunDirectory:
    directory = RunDirectory(path)
    with directory.lock():
        for step in steps:
            directory.checkpoints.save(checkpoint(step))
    return directory


def spoil(directory: RunDirectory, step: int) -> None:
    (directory.checkpoints.path / f"step-{step:08d}.safetensors").write_bytes(b"spoilt")


# ---- one model ----------------------------------------------------------------------------------


def test_a_prompt_becomes_its_tokens() -> None:
    assert ServedModel(checkpoint(3)).check_prompt("abba") == [0, 1, 1, 0]


def test_a_prompt_with_an_unknown_character_is_refused() -> None:
    with pytest.raises(UnknownCharacter, match="got 'x'"):
        ServedModel(checkpoint(3)).check_prompt("abx")


def test_the_longest_prompt_leaves_one_position() -> None:
    model = ServedModel(checkpoint(3))

    assert len(model.check_prompt("abababa")) == 7
    with pytest.raises(ValueError, match="fewer than 8 characters, got 8"):
        model.check_prompt("abababab")


def test_the_generator_of_the_run_is_where_training_left_it_each_time() -> None:
    model = ServedModel(checkpoint(3))
    rng = random.Random()
    rng.setstate(RUN.rng_state)

    assert model.microgpt_rng().random() == rng.random()
    assert model.microgpt_rng().getstate() == RUN.rng_state


def test_a_model_names_its_step_and_weights() -> None:
    model = ServedModel(checkpoint(3))

    assert (model.step, model.sha256) == (3, checkpoint(3).weights_sha256)


# ---- following a run ----------------------------------------------------------------------------


def test_a_run_that_does_not_exist_yet_has_no_model(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "run")

    assert follower.refresh() == []
    assert follower.model is None


def test_the_first_checkpoint_of_a_run_is_found_when_it_comes(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "run")
    follower.refresh()

    save(tmp_path / "run", 0)
    follower.refresh()

    assert follower.model is not None
    assert follower.model.step == 0


def test_a_newer_checkpoint_is_followed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    follower = Follower(tmp_path)
    follower.refresh()

    save(tmp_path, 2)
    follower.refresh()

    assert follower.model is not None
    assert (follower.model.step, follower.model.sha256) == (2, checkpoint(2).weights_sha256)


def test_a_run_that_did_not_change_is_not_loaded_again(tmp_path: Path) -> None:
    save(tmp_path, 1)
    follower = Follower(tmp_path)
    follower.refresh()
    model = follower.model

    follower.refresh()

    assert follower.model is model


def test_a_spoilt_newest_is_named_and_the_one_before_is_served(tmp_path: Path) -> None:
    directory = save(tmp_path, 1, 2)
    spoil(directory, 2)
    follower = Follower(tmp_path)

    (complaint,) = follower.refresh()

    assert "step-00000002" in complaint
    assert follower.refresh() == []
    assert follower.model is not None
    assert follower.model.step == 1


def test_the_last_good_model_stays_when_all_that_is_there_is_spoilt(tmp_path: Path) -> None:
    directory = save(tmp_path, 1)
    follower = Follower(tmp_path)
    follower.refresh()

    save(tmp_path, 2)
    spoil(directory, 1)
    spoil(directory, 2)

    assert len(follower.refresh()) == 2
    assert follower.model is not None
    assert follower.model.step == 1


def test_a_follower_never_goes_back(tmp_path: Path) -> None:
    directory = save(tmp_path, 1, 2)
    follower = Follower(tmp_path)
    follower.refresh()

    save(tmp_path, 3)
    spoil(directory, 3)
    spoil(directory, 2)
    follower.refresh()

    assert follower.model is not None
    assert follower.model.step == 2


def test_a_model_that_was_revoked_is_served_no_longer(tmp_path: Path) -> None:
    """Its parameters are those that a lying worker has spoilt."""
    directory = save(tmp_path, 3, 5)
    follower = Follower(tmp_path)
    follower.refresh()
    with directory.lock():
        directory.revoke(3)

    follower.refresh()

    assert follower.model is not None
    assert follower.model.step == 3


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_steps_that_a_run_saves_again_after_going_back_are_served_anew(
    tmp_path: Path, is_spoilt: bool
) -> None:
    """The steps are the same; their parameters are not those that were revoked."""
    directory = save(tmp_path, 3, 5, 8)
    follower = Follower(tmp_path)
    follower.refresh()
    with directory.lock():
        directory.revoke(3)
        again = [replace(checkpoint(step), params=checkpoint(9 * step).params) for step in (5, 8)]
        for one in again:
            directory.checkpoints.save(one)
    if is_spoilt:
        spoil(directory, 8)

    follower.refresh()

    expected = again[0] if is_spoilt else again[1]
    assert follower.model is not None
    assert follower.model.step == expected.step
    assert follower.model.sha256 == expected.weights_sha256


def test_a_run_that_did_not_change_costs_a_listing_and_one_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, 2)
    follower = Follower(tmp_path)
    follower.refresh()
    read: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or original(path))

    follower.refresh()

    assert read == ["step-00000002.json"]


def test_a_new_run_in_the_same_place_is_followed_from_its_start(tmp_path: Path) -> None:
    directory = save(tmp_path, 5)
    follower = Follower(tmp_path)
    follower.refresh()

    for path in directory.checkpoints.path.iterdir():
        path.unlink()
    RunDirectory(tmp_path).checkpoints.save(replace(checkpoint(1), run="ab" * 16))
    follower.refresh()

    assert follower.model is not None
    assert follower.model.step == 1


def test_a_vocabulary_comes_with_the_checkpoint() -> None:
    model = ServedModel(replace(checkpoint(3), characters="xy"))

    assert model.check_prompt("xy") == [0, 1]
