# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""Drawing in eager PyTorch with a KV cache, as its users would write it: the sampler's peer."""

from collections.abc import Callable

import torch

from benchmarks.torch_peer import Peer, norm
from coordinator.checkpoint import Checkpoint

TEMPERATURE = 0.5


@torch.no_grad()
def draw(peer: Peer, block_size: int, bos: int, batch: int, seed: int) -> torch.Tensor:
    """Draw a batch of documents until all have ended, (batch, at most block_size) tokens."""
    torch.manual_seed(seed)
    tokens = torch.full((batch,), bos)
    is_over = torch.zeros(batch, dtype=torch.bool)
    caches: list[list[torch.Tensor]] = [[] for _ in peer.blocks]
    drawn = []
    for position in range(block_size):
        x = norm(peer.wte(tokens) + peer.wpe.weight[position])
        for block, cache in zip(peer.blocks, caches, strict=True):
            heads = block.qkv(norm(x)).view(batch, 3, block.n_head, 1, -1)
            query, key, value = heads.unbind(1)
            if cache:
                key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
            cache[:] = [key, value]
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
            x = x + block.wo(mixed.reshape(batch, -1))
            x = x + block.fc2(torch.relu(block.fc1(norm(x))))
        weights = torch.softmax(peer.lm_head(x) / TEMPERATURE, -1)
        tokens = torch.multinomial(weights, 1)[:, 0]
        drawn.append(tokens)
        is_over |= tokens == bos
        if bool(is_over.all()):
            break
    return torch.stack(drawn, 1)


def torch_sampler(checkpoint: Checkpoint) -> dict[str, Callable[[int, int], object]]:
    """Give what draws (batch, seed) from a checkpoint, by name."""
    torch.set_num_threads(1)
    model = checkpoint.model
    peers = {
        f"PyTorch {name}": Peer(model, checkpoint.params, dtype)
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32))
    }
    return {
        name: lambda batch, seed, peer=peer: draw(
            peer, model.block_size, model.vocab_size - 1, batch, seed
        )
        for name, peer in peers.items()
    }
