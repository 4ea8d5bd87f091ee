"""The peer computes what we compute; only where torch is installed."""

import random

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-torch", exc_type=ImportError)

from benchmarks.torch_peer import Peer, pad  # noqa: E402
from engine.config import ModelConfig  # noqa: E402
from engine.engines import engine_of  # noqa: E402
from engine.params import initialise, layout_of  # noqa: E402

pytestmark = [pytest.mark.unit, pytest.mark.torch]

CONFIG = ModelConfig(vocab_size=5, n_layer=2, n_embd=4, n_head=2, block_size=6)
PARAMS = initialise(CONFIG, random.Random(1))
DOCUMENTS = [[4, 0, 4], [4, 1, 2, 3, 0, 1, 2], [4, 4]]


@pytest.mark.parametrize("is_fused", [True, False])
def test_the_peer_has_our_losses_and_gradient(is_fused: bool) -> None:
    peer = Peer(CONFIG, PARAMS, torch.float64, is_fused)
    eager = engine_of("eager", CONFIG)

    losses = peer(*pad(DOCUMENTS))
    losses.sum().backward()

    assert losses.tolist() == pytest.approx(eager.losses(PARAMS, DOCUMENTS), rel=1e-12)
    grad = eager.gradient(PARAMS, DOCUMENTS).grad
    for name in ("wte", "wpe", "lm_head"):
        [matrix] = [matrix for matrix in layout_of(CONFIG) if matrix.name == name]
        ours = grad[matrix.offset : matrix.offset + matrix.rows * matrix.columns]
        theirs = getattr(peer, name).weight.grad.flatten().tolist()
        assert theirs == pytest.approx(ours.tolist(), rel=1e-10, abs=1e-14)
