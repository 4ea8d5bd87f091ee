"""Each checkpoint is drawn from once, with the same seed as all others."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.run_directory import RunDirectory
from dashboard.drawings import NAMES, Drawing, Drawings
from tests.dashboard.fake_coordinator import RUN, checkpoint, save

pytestmark = pytest.mark.unit


def all_of(drawings: Drawings) -> list[Drawing]:
    found = []
    while (drawing := drawings.look()) is not None:
        found.append(drawing)
        assert len(found) < 10, "it draws again and again"
    return found


def test_there_is_nothing_to_draw_from_yet(tmp_path: Path) -> None:
    assert Drawings(tmp_path / "run").look() is None


def test_a_new_checkpoint_is_drawn_from_once(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(0))
    drawings = Drawings(tmp_path)
    assert [drawing.step for drawing in all_of(drawings)] == [0]
    save(tmp_path, checkpoint(5))

    [drawing] = all_of(drawings)

    assert (drawing.run, drawing.step, drawing.steps) == (RUN, 5, 900)
    assert drawing.is_newest
    assert len(drawing.names) == NAMES


def test_the_same_parameters_invent_the_same_names(tmp_path: Path) -> None:
    save(tmp_path / "a", checkpoint(5))
    save(tmp_path / "b", checkpoint(5))

    assert Drawings(tmp_path / "a").look() == Drawings(tmp_path / "b").look()


def test_older_checkpoints_that_are_there_follow_the_newest(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1), checkpoint(2), checkpoint(3))

    found = all_of(Drawings(tmp_path))

    assert [(one.step, one.is_newest) for one in found] == [(3, True), (2, False), (1, False)]


def test_checkpoints_that_came_between_two_looks_are_drawn_from_as_well(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1))
    drawings = Drawings(tmp_path)
    all_of(drawings)
    save(tmp_path, checkpoint(2), checkpoint(3), checkpoint(4))

    assert [one.step for one in all_of(drawings)] == [4, 3, 2]


def test_a_run_that_has_gone_back_and_saves_a_step_again_is_drawn_from_again(
    tmp_path: Path,
) -> None:
    save(tmp_path, checkpoint(1), checkpoint(2))
    drawings = Drawings(tmp_path)
    all_of(drawings)
    directory = RunDirectory(tmp_path)
    with directory.lock():
        directory.revoke(1)
    save(tmp_path, checkpoint(2, shift=0.5))

    assert [one.step for one in all_of(drawings)] == [2]


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1), checkpoint(2))
    (tmp_path / "checkpoints" / "step-00000002.safetensors").write_bytes(b"spoilt")

    assert [one.step for one in all_of(Drawings(tmp_path))] == [1]


def test_a_model_that_has_diverged_says_so(tmp_path: Path) -> None:
    made = checkpoint(1)
    params = made.params[:]
    for index in range(len(params)):
        params[index] = 1e308 * math.copysign(1, params[index])
    save(tmp_path, replace(made, params=params))

    [drawing] = all_of(Drawings(tmp_path))
    assert drawing.names == ()
    assert drawing.trouble
