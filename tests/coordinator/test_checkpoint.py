"""Checkpoints as bytes: what is read is what was written."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from coordinator.checkpoint import parse, serialise
from coordinator.errors import CheckpointCorrupt
from engine.shards import Cursor
from tests.coordinator.stored import checkpoint, data_file, directory

pytestmark = pytest.mark.unit


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
