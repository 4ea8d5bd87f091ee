"""Parity with Karpathy's microgpt.py: its recorded losses and names, bit for bit."""

import hashlib
import json
import math
import random
from itertools import islice
from pathlib import Path

import pytest

from engine.config import TrainConfig
from engine.eager import Eager
from engine.params import Flat, as_matrices, layout_of
from engine.reference import train
from engine.run import Run, prepare_run
from engine.sample import sample_tokens

pytestmark = pytest.mark.oracle

NAMES = (
    "kamon ann karai jaire vialan karia yeran anna areli kaina konna keylen liole alerin earan"
    " lenne kana lara alela anton"
)


def libm_digest() -> str:
    """Digest what this machine's C library makes of fixed inputs, in all its bits."""
    rng = random.Random(0)
    hasher = hashlib.sha256()
    for _ in range(20_000):
        x = rng.uniform(1e-6, 2.0)
        results = [math.exp(-20 * x), math.log(x), math.sin(3 * x), math.cos(3 * x)]
        results += [x**power for power in (-2, -1.5, -1, -0.5, 0.5, 2)]
        results.append(0.85 ** rng.randrange(1, 1001))
        hasher.update(" ".join(map(float.hex, results)).encode())
    return hasher.hexdigest()


@pytest.fixture(scope="module")
def same_libm(golden: Path) -> None:
    recorded = json.loads((golden / "libm.json").read_text())
    if libm_digest() != recorded["sha256"]:
        pytest.skip(
            "this machine's exp, log and pow round some last bits otherwise than those of"
            f" {recorded['recorded_on']}, where the losses were recorded"
        )


def microgpt_run(names: Path, steps: int, activation: str) -> Run:
    texts = [line.strip() for line in names.read_text(encoding="utf-8").splitlines()]
    config = TrainConfig(steps=steps, batch_size=1, shards=1)
    return prepare_run([text for text in texts if text], config, {"activation": activation})


def recorded_losses(path: Path) -> list[float]:
    return [float(line.split()[1]) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("same_libm")
def test_the_first_50_losses_are_those_of_microgpt(canonical_names: Path, golden: Path) -> None:
    expected = recorded_losses(golden / "microgpt_losses.txt")

    run = microgpt_run(canonical_names, 1000, "relu")
    losses = [loss for loss, _ in islice(train(run, Eager(run.model)), 50)]

    assert losses == expected[:50]


@pytest.mark.long
@pytest.mark.usefixtures("same_libm")
def test_the_first_50_losses_with_relu2_are_those_of_microgpt(
    canonical_names: Path, golden: Path
) -> None:
    """In `make test` they come from a distributed run: tests/integration/test_parity.py."""
    expected = recorded_losses(golden / "microgpt_relu2_losses.txt")

    run = microgpt_run(canonical_names, 200, "relu2")
    losses = [loss for loss, _ in islice(train(run, Eager(run.model)), 50)]

    assert losses == expected[:50]


@pytest.mark.long
@pytest.mark.usefixtures("same_libm")
def test_all_1000_losses_and_then_20_names_are_those_of_microgpt(
    canonical_names: Path, golden: Path
) -> None:
    run = microgpt_run(canonical_names, 1000, "relu")

    losses, names = train_and_name(run)

    assert losses == recorded_losses(golden / "microgpt_losses.txt")
    assert " ".join(names) == NAMES


def train_and_name(run: Run) -> tuple[list[float], list[str]]:
    losses: list[float] = []
    params: Flat = run.params
    for loss, updated in train(run, Eager(run.model)):
        losses.append(loss)
        params = updated
    rng = random.Random()
    rng.setstate(run.rng_state)
    matrices = as_matrices(layout_of(run.model), params.tolist())
    samples = [sample_tokens(run.model, matrices, rng, 0.5) for _ in range(20)]
    return losses, [run.tokenizer.decode(tokens) for tokens in samples]
