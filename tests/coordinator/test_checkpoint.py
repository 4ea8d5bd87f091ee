"""Checkpoints on a real disk: whole, verified, and the newest valid one wins."""

import fcntl
import json
import os
import random
import socket
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from coordinator.checkpoint import Checkpoint, DatasetRecord, parse, serialise
from coordinator.errors import (
    CheckpointCorrupt,
    CheckpointUnwritable,
    RunDirectoryError,
    RunDirectoryHeld,
)
from coordinator.run_directory import RunDirectory
from coordinator.store import Keep
from engine.optimizer import Moments
from engine.shards import Cursor
from tests.coordinator.disk import full_disk
from tests.coordinator.scenario import small_run

pytestmark = pytest.mark.unit


def checkpoint(step: int = 3, **fields: object) -> Checkpoint:
    run = small_run(steps=9)
    rng = random.Random(step)
    rng.gauss(0, 1)  # leaves half a pair of normal numbers in the state
    vectors = [
        array("d", (rng.uniform(-1, 1) for _ in range(run.model.num_params))) for _ in range(3)
    ]
    vectors[0][0], vectors[0][1] = -0.0, 5e-324
    made = Checkpoint(
        run="5f" * 16,
        step=step,
        loss=2.0 / 3.0,
        model=run.model,
        train=run.train,
        dataset=DatasetRecord("/data/é.txt", 7, "ab" * 32),
        characters="ab",
        rng_state=rng.getstate(),
        params=vectors[0],
        moments=Moments(vectors[1], vectors[2]),
    )
    return replace(made, **fields)


def directory(path: Path, *steps: int) -> RunDirectory:
    """A run directory that holds checkpoints of these steps."""
    made = RunDirectory(path / "run")
    with made.lock():
        for step in steps:
            made.checkpoints.save(checkpoint(step))
    return made


def data_file(made: RunDirectory, step: int) -> Path:
    return made.checkpoints.path / f"step-{step:08d}.safetensors"


def record_file(made: RunDirectory, step: int) -> Path:
    return made.checkpoints.path / f"step-{step:08d}.json"


# ---- round trip ---------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    loaded = made.checkpoints.load(3)

    original = checkpoint(3)
    assert loaded == original
    assert loaded.params.tobytes() == original.params.tobytes()  # == takes -0.0 for 0.0
    assert loaded.weights_sha256 == original.weights_sha256


def test_the_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    rng, again = random.Random(3), random.Random()
    rng.gauss(0, 1)
    made = directory(tmp_path)
    made.checkpoints.save(checkpoint(3, rng_state=rng.getstate()))

    again.setstate(made.checkpoints.load(3).rng_state)

    assert [again.gauss(0, 1), again.random()] == [rng.gauss(0, 1), rng.random()]


def test_a_start_has_no_loss(tmp_path: Path) -> None:
    made = directory(tmp_path)

    made.checkpoints.save(checkpoint(0, loss=None))

    assert made.checkpoints.load(0).loss is None


def test_the_file_loads_with_safetensors_under_the_names_of_microgpt(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    tensors = safetensors.numpy.load_file(data_file(made, 3))

    names = ["wte", "wpe", "lm_head", *(f"layer0.attn_{n}" for n in ("wq", "wk", "wv", "wo"))]
    names += ["layer0.mlp_fc1", "layer0.mlp_fc2"]
    assert sorted(tensors) == sorted(g + n for g in ("", "adam.m.", "adam.v.") for n in names)
    assert tensors["wte"].shape == (3, 1)
    assert tensors["layer0.mlp_fc2"].shape == (1, 4)
    assert all(tensor.dtype == np.float64 for tensor in tensors.values())
    assert tensors["wpe"].ravel().tolist() == checkpoint(3).params[3:6].tolist()


def test_equal_checkpoints_are_equal_files(tmp_path: Path) -> None:
    one, other = directory(tmp_path / "one", 3), directory(tmp_path / "other", 3)

    assert data_file(one, 3).read_bytes() == data_file(other, 3).read_bytes()


def test_the_record_says_what_was_committed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 9, 5)

    record = json.loads(record_file(made, 5).read_text())

    assert record["step"] == 5
    assert record["previous"] == 3
    assert record["run"] == "5f" * 16
    assert record["bytes"] == data_file(made, 5).stat().st_size
    assert record["weights_sha256"] == checkpoint(5).weights_sha256


# ---- the newest valid one -----------------------------------------------------------------------


def test_the_newest_checkpoint_wins(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 20, 100)

    newest, complaints = made.checkpoints.newest()

    assert newest == checkpoint(100)
    assert complaints == []


def test_a_directory_without_checkpoints_has_no_newest(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path / "none").checkpoints.newest() == (None, [])


def test_a_damaged_record_never_gives_other_weights(tmp_path: Path) -> None:
    """Some flips of a record change nothing that is used; none may change what is loaded."""
    made = directory(tmp_path, 3, 4)
    record = record_file(made, 4).read_bytes()

    passed_over = 0
    for position in range(len(record)):
        damaged = bytearray(record)
        damaged[position] ^= 4
        record_file(made, 4).write_bytes(damaged)
        newest, complaints = made.checkpoints.newest()
        assert newest == checkpoint(3 if complaints else 4)
        passed_over += len(complaints)

    assert passed_over > 100


@pytest.mark.parametrize("record", ["", "null", "[]", "5", "{}", '{"sha256": 5}', "{" * 9000])
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, record: str) -> None:
    made = directory(tmp_path, 3, 4)

    record_file(made, 4).write_text(record)

    assert made.checkpoints.newest()[0] == checkpoint(3)


def test_a_record_without_its_data_is_passed_over(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    data_file(made, 4).unlink()

    newest, (complaint,) = made.checkpoints.newest()
    assert newest == checkpoint(3)
    assert "FileNotFoundError" in complaint


def test_data_without_a_record_was_never_committed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    record_file(made, 4).unlink()

    assert made.checkpoints.newest() == (checkpoint(3), [])


def test_a_checkpoint_under_another_name_is_refused(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    data_file(made, 3).rename(data_file(made, 9))
    record_file(made, 3).rename(record_file(made, 9))

    with pytest.raises(CheckpointCorrupt, match="expected step, run and weights"):
        made.checkpoints.load(9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_with_a_value_that_is_not_finite_is_refused(
    tmp_path: Path, value: float
) -> None:
    made = directory(tmp_path, 3)
    params = checkpoint(4).params
    params[5] = value
    made.checkpoints.save(checkpoint(4, params=params))

    newest, (complaint,) = made.checkpoints.newest()

    assert newest == checkpoint(3)
    assert "expected finite values" in complaint


# ---- saving -------------------------------------------------------------------------------------


def test_the_three_newest_stay(tmp_path: Path) -> None:
    made = directory(tmp_path, 1, 2, 30, 4, 50)

    assert made.checkpoints.steps() == [50, 30, 4]
    assert len(list(made.checkpoints.path.iterdir())) == 6


def test_a_step_can_be_saved_again(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 3)

    assert made.checkpoints.newest() == (checkpoint(3), [])


def test_a_save_leaves_no_other_files(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    assert sorted(path.name for path in made.checkpoints.path.iterdir()) == [
        "step-00000003.json",
        "step-00000003.safetensors",
    ]


def test_a_full_disk_is_named_and_earlier_checkpoints_stay(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    with full_disk(), pytest.raises(CheckpointUnwritable) as refusal:
        made.checkpoints.save(checkpoint(4))

    assert str(data_file(made, 4)) in str(refusal.value)
    assert made.checkpoints.newest() == (checkpoint(3), [])
    assert len(list(made.checkpoints.path.iterdir())) == 2


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    made = RunDirectory(tmp_path)
    made.checkpoints.path.write_text("")

    with pytest.raises(CheckpointUnwritable, match="Not a directory"):
        made.checkpoints.save(checkpoint(4))


def test_a_copy_that_a_person_made_does_not_keep_a_run_from_saving(tmp_path: Path) -> None:
    made = directory(tmp_path, 1)
    record_file(made, 1).rename(made.checkpoints.path / "step-00000001 (copy).json")

    for step in (2, 3, 4):
        made.checkpoints.save(checkpoint(step))

    assert made.checkpoints.newest() == (checkpoint(4), [])


# ---- which stay ---------------------------------------------------------------------------------


def test_the_first_of_every_so_many_steps_stays_for_ever(tmp_path: Path) -> None:
    made = directory(tmp_path)
    keep = Keep(newest=2, every=10)

    for step in range(0, 36, 3):
        made.checkpoints.save(checkpoint(step), keep)

    assert made.checkpoints.steps() == [33, 30, 21, 12, 0]


def test_what_stays_does_not_depend_on_the_order_of_looking() -> None:
    assert Keep(1).of([3, 9, 5]) == {9}
    assert Keep(2, every=4).of({9, 5, 3, 4, 1}) == {9, 5, 4, 1}
    assert Keep(9).of([2, 1]) == {1, 2}


def test_a_save_never_removes_itself_for_newer_ones_that_are_not_valid(tmp_path: Path) -> None:
    """Three damaged checkpoints are no reason to forget the only good one."""
    made = directory(tmp_path, 50, 90, 95, 100)
    for step in (90, 95, 100):
        data_file(made, step).write_bytes(b"rot")

    made.checkpoints.save(checkpoint(60))

    newest, complaints = made.checkpoints.newest()
    assert newest == checkpoint(60)
    assert len(complaints) == 3


def test_what_was_passed_over_is_set_aside_and_kept_for_people(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4, 5)
    data_file(made, 5).write_bytes(b"rot")
    data_file(made, 4).unlink()

    made.checkpoints.set_aside_after(3)

    assert made.checkpoints.newest() == (checkpoint(3), [])
    assert sorted(path.name for path in made.checkpoints.path.glob("*.bad")) == [
        "step-00000004.json.bad",
        "step-00000005.json.bad",
        "step-00000005.safetensors.bad",
    ]
    with made.lock():  # tidies
        assert len(list(made.checkpoints.path.glob("*.bad"))) == 3


def test_with_nothing_to_set_aside_nothing_changes(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)

    made.checkpoints.set_aside_after(3)

    assert made.checkpoints.steps() == [3]


# ---- where a run stands -------------------------------------------------------------------------


def test_cursor_and_fingerprint_come_back(tmp_path: Path) -> None:
    made = directory(tmp_path)
    saved = checkpoint(3, cursor=Cursor(2, 5), fingerprint="ab" * 32)

    made.checkpoints.save(saved)

    assert made.checkpoints.load(3) == saved


def test_a_tensor_too_many_is_no_checkpoint_of_ours() -> None:
    data = serialise(checkpoint(3))
    tensors = safetensors.numpy.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    strange = safetensors.numpy.save({**tensors, "wxe": tensors["wpe"]}, header["__metadata__"])

    with pytest.raises(CheckpointCorrupt, match="expected the tensors of its model, got others"):
        parse(strange)


# ---- lock and generation ------------------------------------------------------------------------


def test_a_run_directory_is_made_and_held(tmp_path: Path) -> None:
    made = RunDirectory(tmp_path / "a" / "b")

    with made.lock():
        assert made.checkpoints.path.is_dir()
        other = RunDirectory(tmp_path / "a" / "b")
        expected = f"process {os.getpid()} on {socket.gethostname()} trains in"
        with pytest.raises(RunDirectoryHeld, match=expected), other.lock():
            pass


def test_a_lock_without_a_name_is_still_held(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (made.path / "LOCK").write_text("")
    descriptor = os.open(made.path / "LOCK", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(RunDirectoryHeld, match="process unknown trains in"), made.lock():
        pass
    os.close(descriptor)


def test_a_run_directory_is_free_again_after_its_process_has_left(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (made.path / "LOCK").write_text("4194304 and more than one process was ever called")

    with made.lock():
        assert (made.path / "LOCK").read_text() == f"{os.getpid()} on {socket.gethostname()}"


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    (made.checkpoints.path / ".step-00000004.safetensors.tmp").write_text("half")
    data_file(made, 4).write_text("data without a record")

    with made.lock():
        pass

    assert sorted(made.checkpoints.path.iterdir()) == [record_file(made, 3), data_file(made, 3)]


@pytest.mark.parametrize("in_the_way", ["run", "run/checkpoints"])
def test_a_file_in_place_of_a_run_directory_is_refused(tmp_path: Path, in_the_way: str) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(exist_ok=True)
    path.write_text("")

    made = RunDirectory(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="to write to") as refusal, made.lock():
        pass

    assert str(tmp_path / "run") in str(refusal.value)


def test_every_start_is_another_generation(tmp_path: Path) -> None:
    made = directory(tmp_path)

    assert [made.next_generation() for _ in range(3)] == [1, 2, 3]
    assert RunDirectory(made.path).next_generation() == 4


def test_a_full_disk_does_not_cost_a_step_that_was_saved_before(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    with full_disk(), pytest.raises(CheckpointUnwritable):
        made.checkpoints.save(checkpoint(4))

    assert made.checkpoints.newest() == (checkpoint(4), [])


@pytest.mark.parametrize("text", ["", "three", "-1", "1.5"])
def test_a_count_of_generations_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    made = directory(tmp_path)
    (made.path / "GENERATION").write_text(text)

    with pytest.raises(RunDirectoryError, match="expected the number of this run's starts"):
        made.next_generation()


def test_a_full_disk_at_the_start_is_an_error_of_ours(tmp_path: Path) -> None:
    made = directory(tmp_path)
    made.next_generation()

    with full_disk(file_bytes_max=0), pytest.raises(CheckpointUnwritable, match="GENERATION"):
        made.next_generation()

    assert made.next_generation() == 2


# ---- going back ---------------------------------------------------------------------------------


def test_revoked_checkpoints_are_gone_and_those_before_stay(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 5, 8)

    with made.lock():
        made.revoke(5)

    assert made.checkpoints.steps() == [5, 3]
    assert not data_file(made, 8).exists()
    assert not (made.path / "REVOKED").exists()


def test_a_revocation_that_a_crash_cut_short_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """What a liar has spoilt must not be trained on because the coordinator died just then."""
    made = directory(tmp_path, 3, 5, 8)
    (made.path / "REVOKED").write_text("3")

    with made.lock():
        newest, _ = made.checkpoints.newest()

    assert newest is not None
    assert newest.step == 3
    assert not (made.path / "REVOKED").exists()


def test_a_mark_that_names_no_step_is_explained(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    (made.path / "REVOKED").write_text("three")

    with pytest.raises(RunDirectoryError, match="the last step that is not revoked, got 'three'"):
        made.lock().__enter__()

    assert made.checkpoints.steps() == [3]


def test_checkpoints_are_revoked_on_a_full_disk(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 5)

    with made.lock(), full_disk(0):
        made.revoke(4)

    assert made.checkpoints.steps() == [3]


def test_who_has_contributed_comes_back_and_changes_no_byte_of_the_data(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    before = data_file(made, 3).read_bytes()
    with made.lock():
        made.checkpoints.save(checkpoint(3, contributors={"w1-ab": 0, "wé-cd": 2}))

    assert made.checkpoints.load(3).contributors == {"w1-ab": 0, "wé-cd": 2}
    assert data_file(made, 3).read_bytes() == before


def test_a_run_whose_workers_may_round_otherwise_says_so_for_ever(tmp_path: Path) -> None:
    made = directory(tmp_path, 3)
    with made.lock():
        made.checkpoints.save(checkpoint(4, has_exact_numerics=False))

    assert [made.checkpoints.load(step).has_exact_numerics for step in (3, 4)] == [True, False]
