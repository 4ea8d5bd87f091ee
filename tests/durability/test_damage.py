"""Bytes that change or go missing while nobody looks: what is loaded is what was committed."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.checkpoint import Checkpoint, serialise
from coordinator.run_directory import RunDirectory
from engine.config import TrainConfig
from engine.optimizer import Moments
from engine.run import prepare_run
from tests.durability.lives import state_at
from tests.trials import trials

pytestmark = pytest.mark.integration

NEWEST = 7
OF_DATA = 0.8  # of the damage; the rest is done to commit records
ALPHABET = "abcdefghijklmnopqrstuvwxyz"  # with it the default model has its usual size

Damage = Callable[[bytes, random.Random], bytes]


def large(step: int) -> Checkpoint:
    """A checkpoint of the default model."""
    run = prepare_run([ALPHABET], TrainConfig(steps=99, batch_size=1, shards=1), {})
    size = run.model.num_params
    draw = random.Random(step).random
    vectors = [type(run.params)("d", (draw() for _ in range(size))) for _ in range(3)]
    return replace(
        state_at(step),
        model=run.model,
        characters=ALPHABET,
        params=vectors[0],
        moments=Moments(vectors[1], vectors[2]),
        contributors={f"w{n}-5f03": 3 * n for n in range(8)},
    )


def flipped(file: bytes, rng: random.Random) -> bytes:
    """Give it with one byte changed."""
    position = rng.randrange(len(file))
    damaged = bytearray(file)
    damaged[position] ^= rng.randrange(1, 256)
    return bytes(damaged)


def truncated(file: bytes, rng: random.Random) -> bytes:
    return file[: rng.randrange(len(file))]


def is_original(loaded: Checkpoint, original: Checkpoint) -> bool:
    is_same = serialise(loaded) == serialise(original)
    return is_same and loaded.contributors == original.contributors


def assert_damage_is_noticed(path: Path, damage: Damage, count: int) -> int:
    """Spoil the newest checkpoint so often; give how often that changed nothing that is used."""
    store = RunDirectory(path).checkpoints
    store.path.mkdir(parents=True)
    older, newest = large(NEWEST - 1), large(NEWEST)
    store.save(older)
    store.save(newest)
    data_path, record_path = store.paths(NEWEST)
    originals = {path: path.read_bytes() for path in (data_path, record_path)}
    assert len(originals[data_path]) > 100_000
    rng = random.Random(damage.__name__)

    harmless = 0
    for _ in range(count):
        spoilt = data_path if rng.random() < OF_DATA else record_path
        spoilt.write_bytes(damage(originals[spoilt], rng))
        loaded, complaints = store.newest()
        spoilt.write_bytes(originals[spoilt])

        assert loaded is not None
        if not complaints:
            assert is_original(loaded, newest)
            assert spoilt is record_path
            harmless += 1
            continue
        assert is_original(loaded, older)
        (complaint,) = complaints
        assert str(spoilt) in complaint
    return harmless


@trials(gate=300, long=2000, soak=20_000)
def test_a_checkpoint_with_a_changed_byte_is_passed_over_and_its_file_named(
    tmp_path: Path, count: int
) -> None:
    harmless = assert_damage_is_noticed(tmp_path / "run", flipped, count)

    assert harmless < count / 100  # a record whose checksum has lost its name has none to fail


@trials(gate=100, long=500, soak=5000)
def test_a_truncated_checkpoint_is_passed_over_and_its_file_named(
    tmp_path: Path, count: int
) -> None:
    assert assert_damage_is_noticed(tmp_path / "run", truncated, count) == 0
