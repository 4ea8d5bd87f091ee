"""A process of its own: compile the kernels for one processor and say what they compute.

Prints JSON: the sha256 of gradients, and what the kernels' code says of floating point. Run with
NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, as `python -m tests.engine.fingerprint`.
"""

import hashlib
import json
import random
import re

from engine.compiled import Compiled
from engine.config import ModelConfig
from engine.kernels import replay
from engine.params import initialise
from tests.engine.functions import Function, Step
from tests.engine.replays import replayed, replayer_of

MODEL = ModelConfig(
    vocab_size=5, n_embd=8, n_head=2, block_size=4, activation="relu2", norm="layer"
)
OF_FLOATS = "fadd|fsub|fmul|fdiv|fneg|fcmp|frem|call"
IS_FLOATING = rf"= (?:tail )?(?:{OF_FLOATS})((?: [a-z]+)*) (?:double|<8 x double>|<4 x double>)"
RELAXED = {"fast", "contract", "reassoc", "nnan", "ninf", "nsz", "arcp", "afn"}


def digest_of_gradients() -> str:
    """Name the bits of a shard of the model and of a function with the operations it lacks."""
    rng = random.Random(1)
    documents = [[rng.randrange(5) for _ in range(rng.randint(2, 5))] for _ in range(19)]
    result = Compiled(MODEL).gradient(initialise(MODEL, random.Random(2)), documents)
    digest = hashlib.sha256(result.grad.tobytes())
    digest.update(repr(result.loss).encode())
    steps = (
        *(Step("exp", (0,)), Step("pow", (3,), 1.5), Step("pow", (3,), 0.5), Step("log", (4,))),
        *(Step("shifted", (0, 1)), Step("div", (3, 1)), Step("sum", (4, 5, 6, 7, 8, 9))),
        Step("pick", (10, 1, 2), 1),
    )
    function = Function(3, steps, (11,))
    documents = [[0, token % 3] for token in range(11)]
    found = replayed(replayer_of(function.traced(), 3), [0.3, -0.7, 1.1], documents)
    digest.update(repr(found).encode())
    return digest.hexdigest()


def main() -> None:
    digest = digest_of_gradients()
    (code,) = replay.inspect_llvm().values()
    (assembly,) = replay.inspect_asm().values()
    flags = {flag for flags in re.findall(IS_FLOATING, code) for flag in flags.split()}
    print(
        json.dumps(
            {
                "digest": digest,
                "instructions": len(re.findall(IS_FLOATING, code)),
                "relaxed": sorted(flags & RELAXED),
                "optional_fusions": code.count("llvm.fmuladd"),
                "fusions_asked_for": len(re.findall(r"call <8 x double> @llvm\.fma", code)),
                "fusions_in_code": len(re.findall(r"\tvf[n]?m(?:add|sub)", assembly)),
            }
        )
    )


if __name__ == "__main__":
    main()
