"""Drawing documents from a trained model, one token after the other.

The same `model.py`, run on plain floats: no graph, the same bits.

Source: Karpathy, microgpt (2026).
"""

import random
from collections.abc import Mapping, Sequence

from engine.config import ModelConfig
from engine.model import Cache, divide, forward, softmax
from engine.scalar import FLOATS


def sample_tokens(
    config: ModelConfig,
    params: Mapping[str, Sequence[Sequence[float]]],
    rng: random.Random,
    temperature: float,
    prompt: Sequence[int] = (),
    max_tokens: int | None = None,
) -> list[int]:
    """Draw one document: the prompt and what the model puts after it, without BOS.

    Args:
        params: the matrices by name, of floats.
        rng: advanced by one draw for each token that is not in the prompt.
        temperature: above 0; logits are divided by it.
        prompt: fewer tokens than block_size; the document begins with them.
        max_tokens: how many tokens may follow the prompt; None is as many as fit.
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
        weights = softmax(FLOATS, [divide(logit, temperature) for logit in logits])
        token = rng.choices(range(config.vocab_size), weights=weights)[0]
        if token == bos:
            break
        document.append(token)
    return document
