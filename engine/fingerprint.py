"""The numeric fingerprint: what one machine's arithmetic makes of a gradient, as one digest.

Another C library, processor or version may round the last bit of an exponential or a power
otherwise. Nobody would notice in a loss; every bit of the parameters would be another. So machines
compare digests of gradients of made-up documents before they add anything up.
"""

import hashlib
import struct
from array import array

from engine.config import ModelConfig
from engine.gradient import Engine
from engine.params import to_bytes

SPREAD = 0.2  # parameters lie between plus and minus half of it, about as a fresh model's do
MIXER = 2_654_435_761  # Knuth's multiplicative hash: all of this is exact on every machine


def fingerprint(engine: Engine, model: ModelConfig) -> str:
    """Give the sha256, in hex, of an engine's losses and gradients of made-up documents.

    There is one of each length that the engine treats in a way of its own; those of several
    lengths are summed as well, side by side.
    """
    params = array("d", (_fraction(i) * SPREAD for i in range(model.num_params)))
    documents = [
        [(i * MIXER + positions) % model.vocab_size for i in range(positions + 1)]
        for positions in engine.probe_lengths()
    ]
    portions = [[document] for document in documents]
    if len(documents) > 1:
        portions.append(documents)
    digest = hashlib.sha256()
    for portion in portions:
        one = engine.gradient(params, portion)
        digest.update(struct.pack("<d", one.loss) + to_bytes(one.grad))
    return digest.hexdigest()


def _fraction(i: int) -> float:
    """Give a number from -0.5 to 0.5 that looks like chance."""
    return (i * MIXER % 2**32) / 2**32 - 0.5
