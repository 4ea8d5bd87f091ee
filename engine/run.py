"""What a run starts from: everything that its documents, its shape and its seed decide."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import ModelConfig, TrainConfig, WorkConfig
from engine.errors import DatasetError
from engine.params import Flat, initialise
from engine.shards import Tokens, hold_out, shuffled
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Run:
    """A run before its first step.

    Attributes:
        work: the part of the configuration that workers are told.
        documents: the documents to train on, as tokens, in the order of the run.
        held_out: the documents that no step sees, as tokens.
        params: fresh parameters, (num_params,).
        rng_state: the state of the run's generator; sampling goes on from it.
    """

    model: ModelConfig
    train: TrainConfig
    work: WorkConfig
    tokenizer: Tokenizer
    documents: Sequence[Tokens]
    held_out: Sequence[Tokens]
    params: Flat
    rng_state: tuple[Any, ...]


def prepare_run(texts: Sequence[str], train: TrainConfig, shape: Mapping[str, Any]) -> Run:
    """Shuffle, split and tokenize the documents, and draw the parameters: in microgpt's order.

    Args:
        shape: the fields of ModelConfig but vocab_size, which the documents decide.

    Raises:
        DatasetError: the documents cannot be trained on.
        ConfigError: the shape cannot be a model.
    """
    rng = random.Random(train.seed)
    ordered = shuffled(texts, rng)
    tokenizer = Tokenizer.of_documents(ordered)
    model = ModelConfig(vocab_size=tokenizer.vocab_size, **shape)
    training, held_out = hold_out(ordered, train.seed, train.held_out)
    if not training or (train.held_out and not held_out):
        raise DatasetError(
            f"expected documents on both sides of the held-out split, got {len(training)} to train"
            f" on and {len(held_out)} held out — dataset; change --held-out or give more documents"
        )
    return Run(
        model=model,
        train=train,
        work=WorkConfig(train.engine, train.batch_size, train.shards, model),
        tokenizer=tokenizer,
        documents=[tokenizer.encode_document(text, model.block_size) for text in training],
        held_out=[tokenizer.encode_document(text, model.block_size) for text in held_out],
        params=initialise(model, rng),
        rng_state=rng.getstate(),
    )
