"""Checkpoints on a real disk: whole, verified, and the newest valid one wins."""

import json
import re
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint
from coordinator.errors import CheckpointCorrupt, CheckpointUnwritable
from coordinator.run_directory import RunDirectory
from coordinator.store import Keep
from tests.coordinator.calls import recorded
from tests.coordinator.disk import full_disk
from tests.coordinator.stored import checkpoint, data_file, directory, record_file, refuse, rewrite

pytestmark = pytest.mark.unit


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


@pytest.mark.parametrize(
    ("record", "came"),
    [
        ("{}", "expected a commit record with step, got none"),
        ("[]", "expected a commit record, got []"),
        ("{", "expected a commit record, got no JSON: "),
        ('{"x":NaN}', "expected a commit record, got no JSON: "),
        ('{"step": "4"}', "expected a commit record with step, got '4'"),
    ],
)
def test_what_is_wrong_with_a_record_is_said_of_the_record(
    tmp_path: Path, record: str, came: str
) -> None:
    made = directory(tmp_path, 3, 4)
    record_file(made, 4).write_text(record)

    _, (complaint,) = made.checkpoints.newest()

    assert complaint.startswith(came)
    assert complaint.endswith(f" — {record_file(made, 4)}")


@pytest.mark.parametrize(
    ("field", "value", "came"),
    [
        ("sha256", None, "expected a commit record with sha256, got none"),
        ("bytes", True, "expected a commit record with bytes, got True"),
        ("contributors", ["w1"], "expected the first step of each contributor, got ['w1']"),
        ("contributors", {"w1": "3"}, "expected the first step of each contributor, got {'w1'"),
    ],
)
def test_a_record_of_an_earlier_version_has_no_sha256_of_its_own_and_is_checked_as_well(
    tmp_path: Path, field: str, value: object, came: str
) -> None:
    made = directory(tmp_path, 3)
    assert made.checkpoints.holds(3, checkpoint(3).weights_sha256)
    rewrite(record_file(made, 3), **{field: value})

    with pytest.raises(CheckpointCorrupt, match=re.escape(came)):
        made.checkpoints.record(3)

    assert not made.checkpoints.holds(3, checkpoint(3).weights_sha256)


def test_a_checkpoint_that_is_removed_while_it_is_read_was_no_damage(tmp_path: Path) -> None:
    """The run goes on: what is there by then is looked at anew."""
    made = directory(tmp_path, 3)

    def load(step: int) -> Checkpoint:
        if step == 3:
            made.checkpoints.save(checkpoint(4), Keep(newest=1))
        return made.checkpoints.load(step)

    assert made.checkpoints.newest(load) == (checkpoint(4), [])


def test_a_record_without_its_data_is_passed_over(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    data_file(made, 4).unlink()

    newest, (complaint,) = made.checkpoints.newest()
    assert newest == checkpoint(3)
    assert (
        complaint == f"expected a checkpoint, got No such file or directory — {data_file(made, 4)}"
    )


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


@pytest.mark.parametrize(("field", "value"), [("step", 4), ("run", "ab" * 16)])
def test_a_record_that_is_another_checkpoints_is_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    made = directory(tmp_path, 3)
    rewrite(record_file(made, 3), **{field: value})

    with pytest.raises(CheckpointCorrupt, match="expected step, run and weights"):
        made.checkpoints.load(3)


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


def test_a_directory_that_a_person_made_is_no_checkpoint(tmp_path: Path) -> None:
    made = directory(tmp_path, 1)
    for name in ("step-00000000.json", "step-00000002.safetensors", "mine.tmp"):
        (made.checkpoints.path / name).mkdir()

    with made.lock():
        for step in (3, 4, 5, 6):
            made.checkpoints.save(checkpoint(step))

    assert made.checkpoints.steps() == [6, 5, 4]
    assert (made.checkpoints.path / "mine.tmp").is_dir()


def test_data_is_durable_before_its_record_is_there(tmp_path: Path) -> None:
    made = directory(tmp_path, 1)

    with recorded() as calls:
        made.checkpoints.save(checkpoint(2))

    assert calls == [
        "fsync .step-00000002.safetensors.tmp",
        "rename step-00000002.safetensors",
        "fsync checkpoints",
        "fsync .step-00000002.json.tmp",
        "rename step-00000002.json",
        "fsync checkpoints",
    ]


def test_data_whose_record_is_refused_does_not_take_up_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory(tmp_path, 1)
    refuse(monkeypatch, "rename", ".json")

    with pytest.raises(CheckpointUnwritable, match="expected to save step 2, got Input/output"):
        made.checkpoints.save(checkpoint(2))

    assert len(list(made.checkpoints.path.iterdir())) == 2


def test_the_record_says_what_was_committed(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 9, 5)

    record = json.loads(record_file(made, 5).read_text())

    assert record["step"] == 5
    assert record["previous"] == 3
    assert record["run"] == "5f" * 16
    assert record["bytes"] == data_file(made, 5).stat().st_size
    assert record["weights_sha256"] == checkpoint(5).weights_sha256


def test_a_full_disk_does_not_cost_a_step_that_was_saved_before(tmp_path: Path) -> None:
    made = directory(tmp_path, 3, 4)

    with full_disk(), pytest.raises(CheckpointUnwritable):
        made.checkpoints.save(checkpoint(4))

    assert made.checkpoints.newest() == (checkpoint(4), [])
