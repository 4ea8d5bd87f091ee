"""Drawing documents from a trained model, one token after the other.

The same `model.py`, run on plain floats: no graph, the same bits. `engine.decode` draws many
documents side by side; this is what it is compared with.

Source: Karpathy, microgpt (2026); for `nucleus`, Holtzman et al. 2020 (arXiv:1904.09751), 3.1.
"""

import random
from collections.abc import Mapping, Sequence

from engine.config import ModelConfig
from engine.model import Cache, divide, forward, softmax
from engine.scalar import FLOATS


def generator(seed: int, index: int) -> random.Random:
    """Give the generator of one of the documents that a seed draws.

    Each has its own, so that they may be drawn side by side, and the first five of ten are those
    of five.
    """
    return random.Random(f"{seed}/{index}")


def sample_tokens(
    config: ModelConfig,
    params: Mapping[str, Sequence[Sequence[float]]],
    rng: random.Random,
    temperature: float,
    prompt: Sequence[int] = (),
    max_tokens: int | None = None,
    top_p: float = 1.0,
) -> list[int]:
    """Draw one document: the prompt and what the model puts after it, without BOS.

    Args:
        params: the matrices by name, of floats.
        rng: advanced by one draw for each token that is not in the prompt.
        temperature: logits are divided by it; at 0 the likeliest token is taken each time.
        prompt: fewer tokens than block_size; the document begins with them.
        max_tokens: how many tokens may follow the prompt; None is as many as fit.
        top_p: draw from the fewest likeliest tokens that have so much of the probability.
    """
    assert len(prompt) < config.block_size
    bos = config.vocab_size - 1
    cache = Cache(config)
    document = list(prompt)
    longest = config.block_size if max_tokens is None else len(prompt) + max_tokens
    token = bos
    for position in range(min(config.block_size, longest)):
        logits = forward(FLOATS, config, params, cache, token, position)
        if position < len(prompt):
            token = prompt[position]
            continue
        weights: Sequence[float]
        if temperature == 0:
            weights = likeliest(logits)
        else:
            weights = softmax(FLOATS, [divide(logit, temperature) for logit in logits])
        token = rng.choices(range(config.vocab_size), weights=nucleus(weights, top_p))[0]
        if token == bos:
            break
        document.append(token)
    return document


def likeliest(logits: Sequence[float]) -> list[float]:
    """Give weights that leave only the likeliest token; the first of equals."""
    best = max(range(len(logits)), key=logits.__getitem__)
    return [float(token == best) for token in range(len(logits))]


def nucleus(weights: Sequence[float], top_p: float) -> Sequence[float]:
    """Set to 0 all but the fewest largest weights that make up `top_p` of their sum."""
    if top_p >= 1:
        return weights
    needed = 0.0
    for weight in weights:
        needed += weight
    needed *= top_p
    kept = [0.0] * len(weights)
    held = 0.0
    for token in sorted(range(len(weights)), key=lambda token: -weights[token]):
        kept[token] = weights[token]
        held += weights[token]
        if held >= needed:
            break
    return kept
