"""OpenAI's completions: what a request may ask, and the shapes of what it is told.

What is not supported is refused, never accepted and ignored.

Source: https://platform.openai.com/docs/api-reference/completions
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampler.model import ServedModel
from sampler.order import Order, Piece, Score, Settings
from wire.sampling import TEMPERATURE_RANGE, is_temperature

CHOICES_MAX = 128  # of one request: OpenAI's own limit of n
MAX_TOKENS = 16  # OpenAI's default, and by chance a name's longest
LOGPROBS_MAX = 5
STOPS_MAX = 4
INT_MAX = 2**63 - 1

NEUTRAL: dict[str, tuple[Any, ...]] = {  # what is not supported may be said if it changes nothing
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "suffix": (None,),
    "logit_bias": (None, {}),
}


class BadRequest(Exception):
    """Raised when a request asks for what cannot be; `param` is the field that does."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        # Somebody's own name for a field may hold what cannot be sent back.
        self.param = None if param is None else param[:60].encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request; prompts are text or tokens, and which the model can go on from is not known."""

    model: str | None
    prompts: tuple[str | tuple[int, ...], ...]
    n: int
    settings: Settings
    seed: int | None
    echo: bool
    stream: bool
    include_usage: bool


def read_request(body: bytes) -> CompletionRequest:
    """Read the body of POST /v1/completions.

    Raises:
        BadRequest: it is none, or asks for what is not supported.
    """
    try:
        values = json.loads(body.decode(), object_pairs_hook=_unique)
        json.dumps(values, ensure_ascii=False).encode()  # lone surrogates are no text
    except (ValueError, RecursionError):
        raise BadRequest("expected a JSON object of UTF-8, got other bytes") from None
    if not isinstance(values, dict):
        raise BadRequest(f"expected a JSON object, got {_short(values)}")
    fields = _Fields(values)
    stream = fields.flag("stream")
    options = fields.take("stream_options")
    if options is not None and not (stream and _are_stream_options(options)):
        raise BadRequest(
            'expected stream_options {"include_usage": true or false} of a stream, got'
            f" {_short(options)}",
            "stream_options",
        )
    echo, logprobs = fields.flag("echo"), fields.integer("logprobs", 0, LOGPROBS_MAX)
    settings = Settings(
        temperature=fields.temperature(),
        top_p=fields.top_p(),
        max_tokens=fields.integer("max_tokens", 0, INT_MAX, MAX_TOKENS),
        stop=fields.stop(),
        logprobs=logprobs,
        scores_prompt=echo and logprobs is not None,
    )
    prompts, n = fields.prompts(), fields.integer("n", 1, CHOICES_MAX, 1)
    assert n is not None
    if len(prompts) * n > CHOICES_MAX:
        raise BadRequest(
            f"expected at most {CHOICES_MAX} choices, got {len(prompts)} prompts times {n}", "n"
        )
    best_of = fields.integer("best_of", 1, CHOICES_MAX)
    if best_of not in (None, 1, n):
        raise BadRequest(f"expected best_of 1 or as many as n, {n}, got {best_of}", "best_of")
    include_usage = bool((options or {}).get("include_usage"))
    seed = fields.integer("seed", -INT_MAX - 1, INT_MAX)
    model = fields.text("model")
    fields.text("user")
    fields.end()
    return CompletionRequest(model, prompts, n, settings, seed, echo, stream, include_usage)


def order_of(model: ServedModel, request: CompletionRequest, fresh_seed: int) -> Order:
    """Give the order that a request makes of a model.

    Raises:
        EngineError, ValueError: the model cannot go on from a prompt.
    """
    prompts = tuple(tuple(_tokens_of(model, prompt)) for prompt in request.prompts)
    seed = fresh_seed if request.seed is None else request.seed
    return Order(model, prompts, request.n, request.settings, seed, request.stream)


def _tokens_of(model: ServedModel, prompt: str | tuple[int, ...]) -> list[int]:
    if isinstance(prompt, str):
        return model.check_prompt(prompt)
    characters = model.tokenizer.characters
    strange = next((token for token in prompt if not 0 <= token < len(characters)), None)
    if strange is not None:
        raise ValueError(f"expected tokens from 0 to {len(characters) - 1}, got {strange}")
    return model.check_prompt(model.tokenizer.decode(prompt))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"expected each field once, got {_short(twice)} twice", twice)
    return values


class _Fields:
    """A request's fields, each taken once; what is left at the end is not supported."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def take(self, name: str) -> Any:
        return self._values.pop(name, None)

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and type(value) is not bool:
            raise BadRequest(f"expected {name} to be true or false, got {_short(value)}", name)
        return bool(value)

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and type(value) is not str:
            raise BadRequest(f"expected {name} to be text, got {_short(value)}", name)
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        value = self.take(name)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            raise BadRequest(f"expected {name} from {low} to {high}, got {_short(value)}", name)
        return value

    def temperature(self) -> float:
        value = self.take("temperature")
        if value is None:
            return 1.0
        if type(value) not in (int, float) or not is_temperature(value):
            raise BadRequest(f"expected {TEMPERATURE_RANGE}, got {_short(value)}", "temperature")
        return float(value)

    def top_p(self) -> float:
        value = self.take("top_p")
        if value is None:
            return 1.0
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise BadRequest(f"expected top_p above 0, up to 1, got {_short(value)}", "top_p")
        return float(value)

    def stop(self) -> tuple[str, ...]:
        value = self.take("stop")
        stops = [] if value is None else [value] if isinstance(value, str) else value
        is_list = isinstance(stops, list) and len(stops) <= STOPS_MAX
        if not is_list or not all(isinstance(one, str) and one for one in stops):
            raise BadRequest(
                f"expected stop to be text or up to {STOPS_MAX} texts, got {_short(value)}", "stop"
            )
        return tuple(stops)

    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        value = self.take("prompt")
        if value is None:
            value = ""
        if isinstance(value, str) or (isinstance(value, list) and _are_tokens(value)):
            value = [value]
        if not isinstance(value, list) or not 1 <= len(value) <= CHOICES_MAX:
            raise BadRequest(
                f"expected text, tokens, or 1 to {CHOICES_MAX} of them, got {_short(value)}",
                "prompt",
            )
        prompts: list[str | tuple[int, ...]] = []
        for prompt in value:
            if isinstance(prompt, str):
                prompts.append(prompt)
            elif isinstance(prompt, list) and _are_tokens(prompt):
                prompts.append(tuple(prompt))
            else:
                raise BadRequest(f"expected text or tokens, got {_short(prompt)}", "prompt")
        return tuple(prompts)

    def end(self) -> None:
        for name, value in self._values.items():
            # By type as well: False is no 0, and 1.0 would do.
            neutral = NEUTRAL.get(name, ())
            if isinstance(value, bool) or not any(value == one for one in neutral):
                raise BadRequest(
                    f"expected no {_short(name)}, got {_short(value)}; it is not supported", name
                )


def _are_tokens(value: list[Any]) -> bool:
    return bool(value) and all(type(one) is int for one in value)


def _are_stream_options(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() - {"include_usage"}:
        return False
    return type(value.get("include_usage", False)) is bool


def _short(value: object) -> str:
    # With escapes: a lone surrogate in it could not be sent back.
    return json.dumps(value)[:60]


# ---- what is told --------------------------------------------------------------------------------


def fingerprint(model: ServedModel) -> str:
    return f"step-{model.step}-{model.sha256[:12]}"


def model_id(request: CompletionRequest, model: ServedModel) -> str:
    return request.model or model.name


def usage(order: Order, tokens: int) -> dict[str, int]:
    """Count tokens; BOS, which begins every document, is one of each prompt."""
    prompted = sum(1 + len(prompt) for prompt in order.prompts)
    return {
        "prompt_tokens": prompted,
        "completion_tokens": tokens,
        "total_tokens": prompted + tokens,
    }


def envelope(
    request: CompletionRequest, order: Order, identity: str, created: int
) -> dict[str, Any]:
    """Give what a completion and each chunk of a stream have in common."""
    return {
        "id": f"cmpl-{identity}",
        "object": "text_completion",
        "created": created,
        "model": model_id(request, order.model),
        "system_fingerprint": fingerprint(order.model),
    }


def choice_of(
    request: CompletionRequest, order: Order, piece: Piece, offset: int, is_first: bool
) -> dict[str, Any]:
    """Give one choice, or a stream's next piece of it.

    Args:
        offset: where the piece's text begins in the whole; of the first, 0.
    """
    text = piece.text
    if request.echo and is_first:
        text = order.model.tokenizer.decode(order.prompt(piece.choice)) + text
    scored = None if order.settings.logprobs is None else _logprobs(piece.scores, offset)
    return {
        "index": piece.choice,
        "text": text,
        "logprobs": scored,
        "finish_reason": piece.finish_reason or None,
    }


def _logprobs(scores: Sequence[Score], offset: int) -> dict[str, Any]:
    """Give OpenAI's logprobs: every token is one character, so offsets count up by one."""
    return {
        "tokens": [score.token for score in scores],
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": [dict(score.top) for score in scores],
        "text_offset": [offset + index for index in range(len(scores))],
    }


def error_body(
    message: str, kind: str, param: str | None, code: str | int | None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
