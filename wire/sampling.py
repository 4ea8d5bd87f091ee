"""What a client and the sampler say to each other: one msgpack map each way.

Anybody may send a request, so everything in it is checked here, and what is not supported is
refused, never ignored.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from wire.codec import pack_map, unpack_map
from wire.errors import MalformedFrame

REQUEST_BYTES_MAX = 4096
REPLY_BYTES_MAX = 16 * 1024 * 1024
SAMPLES_MAX = 1000  # of one request
TEMPERATURE_MIN, TEMPERATURE_MAX = 0.001, 100.0  # below, the largest probability is 1 anyway
TEMPERATURE_RANGE = f"a temperature of 0, or from {TEMPERATURE_MIN:g} to {TEMPERATURE_MAX:g}"

BAD_REQUEST, NO_CHECKPOINT, NO_MODEL = "bad_request", "no_checkpoint", "no_model"
BUSY, DIVERGED, STOPPING = "busy", "diverged", "stopping"


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Draw documents from the newest checkpoint.

    Attributes:
        prompt: what each document begins with.
        n: how many documents.
        temperature: low is timid, high is wild; 0 takes the likeliest token each time.
        seed: of the generator; None lets the sampler choose, and say which.
        max_tokens: how many characters may follow the prompt; None is as many as fit.
        rng: `seed`, or `microgpt` to go on with the generator of the checkpoint.
        stream: tell pieces as they are drawn, in replies of their own; needs a DEALER.
        top_p: draw from the fewest likeliest tokens that have so much of the probability.
        model: `names` is the newest checkpoint, `names@500` the one after 500 steps; None is the
            newest, whatever its name.
    """

    prompt: str = ""
    n: int = 1
    temperature: float = 0.5
    seed: int | None = None
    max_tokens: int | None = None
    rng: str = "seed"
    stream: bool = False
    top_p: float = 1.0
    model: str | None = None

    def problem(self) -> str:
        """Say what is wrong with the request; empty if nothing is."""
        if type(self.prompt) is not str:
            return f"expected prompt to be text, got {type(self.prompt).__name__}"
        if any(0xD800 <= ord(c) <= 0xDFFF for c in self.prompt):  # from bytes that are not UTF-8
            return f"expected a prompt of characters, got {_short(self.prompt)}"
        if type(self.n) is not int or not 1 <= self.n <= SAMPLES_MAX:
            return f"expected n from 1 to {SAMPLES_MAX}, got {_short(self.n)}"
        temperature = self.temperature
        if type(temperature) not in (int, float) or not is_temperature(temperature):
            return f"expected {TEMPERATURE_RANGE}, got {_short(temperature)}"
        if self.seed is not None and not _is_int(self.seed, 0):
            return f"expected seed from 0 to 2^63 - 1, got {_short(self.seed)}"
        if self.max_tokens is not None and not _is_int(self.max_tokens, 1):
            return f"expected max_tokens of 1 or more, got {_short(self.max_tokens)}"
        if self.rng not in ("seed", "microgpt"):
            return f"expected rng to be seed or microgpt, got {_short(self.rng)}"
        if self.rng == "microgpt" and self.seed is not None:
            return "expected a seed or rng microgpt, got both"
        if type(self.stream) is not bool:
            return f"expected stream to be true or false, got {_short(self.stream)}"
        if type(self.top_p) not in (int, float) or not 0 < self.top_p <= 1:
            return f"expected top_p above 0, up to 1, got {_short(self.top_p)}"
        if self.model is not None and type(self.model) is not str:
            return f"expected model to be text, got {type(self.model).__name__}"
        return ""


@dataclass(frozen=True, slots=True)
class SampleReply:
    """What came of a request: samples, an error, or on the way there some pieces.

    Attributes:
        samples: the documents, prompts included.
        step: updates applied to the parameters they were drawn from.
        sha256: weights_sha256 of those parameters.
        seed: of the generator that drew them; None for rng microgpt.
        code, text: of an error, empty without one.
        run: id of the run that is served; empty before its first checkpoint.
        pieces: (sample, more of its text, why it ended) of a stream, prompts excluded; more replies
            follow. `stop`, `length`, or empty while the sample goes on.
    """

    samples: tuple[str, ...] = ()
    step: int = -1
    sha256: str = ""
    seed: int | None = None
    code: str = ""
    text: str = ""
    run: str = ""
    pieces: tuple[tuple[int, str, str], ...] = ()


def encode_request(request: SampleRequest) -> bytes:
    return pack_map({field.name: getattr(request, field.name) for field in fields(request)})


def decode_request(data: bytes) -> SampleRequest:
    """Read a client's request.

    Raises:
        MalformedFrame: it is not one, or asks for what cannot be.
    """
    if len(data) > REQUEST_BYTES_MAX:
        raise MalformedFrame(
            f"expected a request of at most {REQUEST_BYTES_MAX} bytes, got {len(data)}"
        )
    values = unpack_map(data, REQUEST_BYTES_MAX)
    known = [field.name for field in fields(SampleRequest)]
    stranger = next((name for name in values if name not in known), None)
    if stranger is not None:
        raise MalformedFrame(f"expected {', '.join(known)}, got {_short(stranger)}")
    request = SampleRequest(**values)
    problem = request.problem()
    if problem:
        raise MalformedFrame(problem)
    return request


def encode_reply(reply: SampleReply) -> bytes:
    if reply.code:
        return pack_map({"error": {"code": reply.code, "text": reply.text}, "run": reply.run})
    told = {"pieces": reply.pieces} if reply.pieces else {"samples": reply.samples}
    origin = {"step": reply.step, "sha256": reply.sha256, "seed": reply.seed, "run": reply.run}
    return pack_map({**told, **origin})


def decode_reply(data: bytes) -> SampleReply:
    """Read the sampler's reply.

    Raises:
        MalformedFrame: it is not one.
    """
    values = unpack_map(data, REPLY_BYTES_MAX, array_max=SAMPLES_MAX, is_flat=False)
    try:
        if "error" in values:
            error, run = values["error"], str(values["run"])
            return SampleReply(code=str(error["code"]), text=str(error["text"]), run=run)
        return SampleReply(
            samples=tuple(str(sample) for sample in values.get("samples", ())),
            step=int(values["step"]),
            sha256=str(values["sha256"]),
            seed=values["seed"],
            run=str(values["run"]),
            pieces=tuple(
                (int(i), str(text), str(why)) for i, text, why in values.get("pieces", ())
            ),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise MalformedFrame("expected a sampler's reply, got another map") from None


def is_temperature(value: float) -> bool:
    return value == 0 or TEMPERATURE_MIN <= value <= TEMPERATURE_MAX


def _is_int(value: Any, low: int) -> bool:
    return type(value) is int and low <= value < 2**63


def _short(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)[:40]
