"""The peer that trains with DistributedDataParallel has our gradient; where torch is installed."""

import os
import random
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-torch", exc_type=ImportError)

from benchmarks.ddp import PROJECT, measure_ddp  # noqa: E402
from benchmarks.ddp_peer import differentiate, flat_grad  # noqa: E402
from benchmarks.torch_peer import Peer, pad  # noqa: E402
from engine.config import ModelConfig  # noqa: E402
from engine.engines import engine_of  # noqa: E402
from engine.params import initialise  # noqa: E402

pytestmark = pytest.mark.torch

CONFIG = ModelConfig(vocab_size=5, n_layer=2, n_embd=4, n_head=2, block_size=6)
PARAMS = initialise(CONFIG, random.Random(1))
DOCUMENTS = [[4, 0, 4], [4, 1, 2, 3, 0, 1, 2], [4, 4]]


@pytest.mark.unit
def test_a_peer_s_gradient_is_read_in_the_order_of_our_parameters() -> None:
    peer = Peer(CONFIG, PARAMS, torch.float64)

    differentiate(peer, pad(DOCUMENTS))

    ours = engine_of("eager", CONFIG).gradient(PARAMS, DOCUMENTS).grad
    mean = [value / len(DOCUMENTS) for value in ours]
    assert flat_grad(peer, CONFIG) == pytest.approx(mean, rel=1e-10, abs=1e-14)


@pytest.mark.integration
@pytest.mark.parametrize("is_tuned", [False, True])
def test_two_ranks_average_to_our_gradient(is_tuned: bool) -> None:
    measured = measure_ddp(sys.executable, "bundled", 2, 6, is_tuned, steps=3)

    assert (measured.processes, measured.batch, measured.steps) == (2, 6, 3)
    assert measured.grad_difference < 1e-9
    assert measured.documents_per_s == pytest.approx(6 * measured.steps_per_s)


@pytest.mark.integration
def test_a_batch_that_the_ranks_cannot_share_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.ddp_peer", "--batch=5"]

    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "expected a batch that 2 can share: 5" in done.stderr
