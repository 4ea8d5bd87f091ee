# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""The same GPT in eager PyTorch, as its users would write it: the peer that ours is compared with.

Documents are padded at the end to the longest of their batch; the targets there are ignored. There
is no padding mask in the attention: it is causal, so what stands behind a document is never seen.
`is_fused` chooses scaled_dot_product_attention, the faster one, over the products written out.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.losses import check_losses
from benchmarks.report import PEER
from benchmarks.shards import Shards, mixed_shards, random_batches, row_of, single_documents
from benchmarks.timing import Row
from engine.config import ModelConfig
from engine.model import NORM_EPSILON
from engine.params import Flat, Matrix, layout_of
from engine.run import Run
from engine.shards import Tokens

IGNORED = -100  # the target that cross_entropy passes over


class Block(nn.Module):
    """Attention, then an MLP, each behind a norm and beside a residual connection."""

    def __init__(self, config: ModelConfig, is_fused: bool) -> None:
        super().__init__()
        width = config.n_embd
        self.n_head = config.n_head
        self.is_fused = is_fused
        self.qkv = nn.Linear(width, 3 * width, bias=False)  # one product instead of three
        self.wo = nn.Linear(width, width, bias=False)
        self.fc1 = nn.Linear(width, 4 * width, bias=False)
        self.fc2 = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(norm(x))
        return x + self.fc2(functional.relu(self.fc1(norm(x))))

    def _attend(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        heads = self.qkv(x).view(batch, time, 3, self.n_head, width // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (batch, n_head, time, head_dim) each
        if self.is_fused:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            future = torch.ones(time, time, dtype=torch.bool).triu(1)
            scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
            mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
        return self.wo(mixed.transpose(1, 2).reshape(batch, time, width))


class Peer(nn.Module):
    """microgpt, from tokens and targets, (batch, time) each, to losses, (batch,)."""

    def __init__(
        self, config: ModelConfig, params: Flat, dtype: torch.dtype, is_fused: bool = True
    ) -> None:
        assert (config.activation, config.norm) == ("relu", "rms"), "the peer knows no others"
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.Sequential(*(Block(config, is_fused) for _ in range(config.n_layer)))
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.to(dtype)
        self._take(config, params)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1])
        x = norm(self.wte(tokens) + self.wpe(positions))
        logits = self.lm_head(self.blocks(x))
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return losses.view(targets.shape).sum(1) / (targets != IGNORED).sum(1)

    @torch.no_grad()
    def _take(self, config: ModelConfig, params: Flat) -> None:
        ours = {matrix.name: _tensor(matrix, params) for matrix in layout_of(config)}
        self.wte.weight.copy_(ours["wte"])
        self.wpe.weight.copy_(ours["wpe"])
        self.lm_head.weight.copy_(ours["lm_head"])
        for layer, block in enumerate(self.blocks):
            qkv = [ours[f"layer{layer}.attn_{name}"] for name in ("wq", "wk", "wv")]
            block.qkv.weight.copy_(torch.cat(qkv))
            block.wo.weight.copy_(ours[f"layer{layer}.attn_wo"])
            block.fc1.weight.copy_(ours[f"layer{layer}.mlp_fc1"])
            block.fc2.weight.copy_(ours[f"layer{layer}.mlp_fc2"])


def norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=NORM_EPSILON)


def pad(documents: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Give tokens and targets, (batch, time of the longest document) each."""
    time = max(len(tokens) for tokens in documents) - 1
    rows = [list(tokens) for tokens in documents]
    tokens = [[*row[:-1], *[0] * (time + 1 - len(row))] for row in rows]
    targets = [[*row[1:], *[IGNORED] * (time + 1 - len(row))] for row in rows]
    return torch.tensor(tokens), torch.tensor(targets)


def differentiate(peer: Peer, batch: tuple[Tensor, Tensor]) -> None:
    """Do what a training step does before its optimizer: forward, backward."""
    peer.zero_grad(set_to_none=True)
    peer(*batch).sum().backward()


def _tensor(matrix: Matrix, params: Flat) -> Tensor:
    end = matrix.offset + matrix.rows * matrix.columns
    return torch.tensor(params[matrix.offset : end].tolist(), dtype=torch.float64).view(
        matrix.rows, matrix.columns
    )


# ---- what is timed -------------------------------------------------------------------------------


def torch_rows(run: Run) -> list[Row]:
    """Check that the peer computes what the eager engine does, then give its rows."""
    torch.set_num_threads(1)
    double, single, written = (
        Peer(run.model, run.params, dtype, is_fused)
        for dtype, is_fused in (
            (torch.float64, True),
            (torch.float32, True),
            (torch.float64, False),
        )
    )
    for peer, tolerance in ((double, 1e-12), (single, 1e-5), (written, 1e-12)):
        check_losses(run, lambda shard, peer=peer: peer(*pad(shard)).tolist(), tolerance)
    alone, batches = single_documents(run.documents, 96), random_batches(run.documents, 256)
    return [
        _row("PyTorch float64, batch 1", double, alone),
        _row("PyTorch float32, batch 1", single, alone),
        _row(PEER, double, batches),
        _row("PyTorch float32, batch 256", single, batches),
        _row(f"{PEER}, ordered by length", double, mixed_shards(run.documents, 512, 2)),
        _row(f"{PEER}, attention written out", written, batches),
    ]


def _row(name: str, peer: Peer, batches: Shards) -> Row:
    return row_of(name, batches, lambda batch: partial(differentiate, peer, pad(batch)))
