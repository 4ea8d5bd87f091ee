"""microgpt's forward pass and loss, written once for any kind of number.

A small GPT-2, one position at a time: token and position embedding; in each layer attention over
the positions so far, then a two-layer MLP, each behind a norm and beside a residual connection;
logits over the vocabulary at the end. No biases, no gains, no final norm.

The order of every sum is part of the contract: from left to right, starting from 0. A division
a / b is a * b ** -1 for every kind of number (it is not the same in the last bit).

Source: Karpathy, microgpt (2026); Radford et al. 2019 (GPT-2); Zhang & Sennrich 2019,
    arXiv:1910.07467 (RMSNorm); Ba et al. 2016, arXiv:1607.06450 (layer norm).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from engine.config import ModelConfig
from engine.scalar import Arithmetic, Scalar, Vector

NORM_EPSILON = 1e-5  # keeps the norm of a zero vector finite

Params: TypeAlias = Mapping[str, Sequence[Vector]]  # name -> rows


class Cache:
    """The keys and values of the positions so far, [layer][position] -> (n_embd,)."""

    def __init__(self, config: ModelConfig) -> None:
        self.keys: list[list[Vector]] = [[] for _ in range(config.n_layer)]
        self.values: list[list[Vector]] = [[] for _ in range(config.n_layer)]


def document_loss(
    arithmetic: Arithmetic, config: ModelConfig, params: Params, tokens: Sequence[Any]
) -> Scalar:
    """Give the mean loss of one document over its positions, in nats.

    Args:
        tokens: n + 1 token ids for n positions, BOS at both ends (see Tokenizer).
    """
    losses = position_losses(arithmetic, config, params, tokens)
    return _sum(losses) * (1 / len(losses))


def position_losses(
    arithmetic: Arithmetic, config: ModelConfig, params: Params, tokens: Sequence[Any]
) -> Vector:
    """Give the loss of each position of one document, in nats; arguments as above."""
    cache = Cache(config)
    losses = []
    for position, (token, target) in enumerate(pairwise(tokens)):
        logits = forward(arithmetic, config, params, cache, token, position)
        probability = arithmetic.pick(softmax(arithmetic, logits), target)
        losses.append(-arithmetic.log(probability))
    return losses


def forward(
    arithmetic: Arithmetic,
    config: ModelConfig,
    params: Params,
    cache: Cache,
    token: Any,
    position: int,
) -> Vector:
    """Give the logits, (vocab_size,), of the token after `token`; its keys and values join
    the cache."""
    norm = layernorm if config.norm == "layer" else rmsnorm
    token_embedding = arithmetic.row(params["wte"], token)
    position_embedding = params["wpe"][position]
    x = norm(_add(token_embedding, position_embedding))
    for layer in range(config.n_layer):
        name = f"layer{layer}"
        keys, values = cache.keys[layer], cache.values[layer]
        x = _add(attention(arithmetic, config, params, name, norm(x), keys, values), x)
        x = _add(mlp(arithmetic, config, params, name, norm(x)), x)
    return linear(x, params["lm_head"])


def attention(
    arithmetic: Arithmetic,
    config: ModelConfig,
    params: Params,
    name: str,
    x: Vector,
    keys: list[Vector],
    values: list[Vector],
) -> Vector:
    """Let this position look at itself and those before it, n_head times side by side."""
    query = linear(x, params[f"{name}.attn_wq"])
    keys.append(linear(x, params[f"{name}.attn_wk"]))
    values.append(linear(x, params[f"{name}.attn_wv"]))
    heads: list[Scalar] = []
    for start in range(0, config.n_embd, config.head_dim):
        head = slice(start, start + config.head_dim)
        scores = [divide(_dot(query[head], key[head]), config.head_dim**0.5) for key in keys]
        weights = softmax(arithmetic, scores)
        for i in range(start, start + config.head_dim):
            heads.append(_dot(weights, [value[i] for value in values]))
    return linear(heads, params[f"{name}.attn_wo"])


def mlp(
    arithmetic: Arithmetic, config: ModelConfig, params: Params, name: str, x: Vector
) -> Vector:
    """Think about one position by itself: expand fourfold, bend, contract."""
    hidden = [arithmetic.relu(h) for h in linear(x, params[f"{name}.mlp_fc1"])]
    if config.activation == "relu2":
        hidden = [h**2 for h in hidden]
    return linear(hidden, params[f"{name}.mlp_fc2"])


def linear(x: Vector, matrix: Sequence[Vector]) -> Vector:
    """Give matrix @ x, (rows,)."""
    return [_dot(row, x) for row in matrix]


def rmsnorm(x: Vector) -> Vector:
    """Scale x to a root mean square of 1."""
    mean_square = divide(_dot(x, x), len(x))
    scale = (mean_square + NORM_EPSILON) ** -0.5
    return [element * scale for element in x]


def layernorm(x: Vector) -> Vector:
    """Shift x to a mean of 0 and scale it to a variance of 1; without gain and bias."""
    mean = divide(_sum(x), len(x))
    return rmsnorm([element - mean for element in x])


def softmax(arithmetic: Arithmetic, logits: Vector) -> Vector:
    """Turn logits into probabilities; shifted by the largest, so that exp cannot overflow."""
    shift = arithmetic.largest(logits)
    exponentials = [arithmetic.exp(logit - shift) for logit in logits]
    total = _sum(exponentials)
    return [divide(exponential, total) for exponential in exponentials]


def divide(a: Scalar, b: Scalar) -> Scalar:
    return a * b**-1


def _add(a: Vector, b: Vector) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def _dot(a: Vector, b: Vector) -> Scalar:
    return _sum([x * y for x, y in zip(a, b, strict=True)])


def _sum(terms: Vector) -> Scalar:
    # Not the builtin: from Python 3.12 it compensates floats, and gives other bits.
    total: Scalar = 0
    for term in terms:
        total = total + term
    return total
