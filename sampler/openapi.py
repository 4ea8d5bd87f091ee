"""The HTTP door in OpenAPI's words, from the limits that it holds."""

from typing import Any

from sampler.completions import (
    CHOICES_MAX,
    INT_MAX,
    LOGPROBS_MAX,
    MAX_TOKENS,
    NEUTRAL,
    STOPS_MAX,
)
from wire.sampling import TEMPERATURE_MAX, TEMPERATURE_MIN

BODY_BYTES_MAX = 64 * 1024  # 128 prompts of the largest usual block size


def document(version: str, has_api_key: bool) -> dict[str, Any]:
    """Give the OpenAPI 3.1 document.

    Args:
        has_api_key: what is below /v1 needs one.
    """
    error = {"description": "Refused.", "content": _json({"$ref": "#/components/schemas/Error"})}

    def get(content: dict[str, Any], *refusals: int) -> dict[str, Any]:
        answers = {"200": {"description": "Answered.", "content": content}}
        return {"get": {"responses": answers | {str(code): error for code in refusals}}}

    anything = _json({"type": "object"})
    model = {"$ref": "#/components/schemas/Model"}
    models = {"type": "object", "properties": {"data": {"type": "array", "items": model}}}
    one_model = get(_json(model), 404)
    one_model["get"]["parameters"] = [
        {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    completed = _json({"$ref": "#/components/schemas/Completion"})
    answered = {
        "description": "Drawn; a stream of such objects if `stream` is true.",
        "content": completed | {"text/event-stream": {"schema": {"type": "string"}}},
    }
    complete = {
        "requestBody": {"required": True, "content": _json(_request())},
        "responses": {"200": answered}
        | {str(code): error for code in (400, 404, 408, 413, 429, 503)},
    }
    text = {"schema": {"type": "string"}}
    paths: dict[str, dict[str, Any]] = {
        "/v1/completions": {"post": complete},
        "/v1/models": get(_json(models)),
        "/v1/models/{model_id}": one_model,
        "/health": get(anything),
        "/healthz": get(anything),
        "/readyz": get(anything, 503),
        "/version": get(anything),
        "/metrics": get({"text/plain": text}),
        "/openapi.json": get(anything),
        "/": get({"text/html": text}),
    }
    components: dict[str, Any] = {"schemas": _answers()}
    if has_api_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in paths.items():
            if path.startswith("/v1/"):
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
                    operation["responses"]["401"] = error
    return {
        "openapi": "3.1.0",
        "info": {"title": "gradflock sampler", "version": version},
        "paths": paths,
        "components": components,
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _request() -> dict[str, Any]:
    def maybe(kind: str, **limits: Any) -> dict[str, Any]:
        return {"type": [kind, "null"], **limits}

    tokens = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    text = {"type": "string"}
    several = {"type": "array", "minItems": 1, "maxItems": CHOICES_MAX}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "model": maybe("string"),
            "prompt": {
                "anyOf": [
                    {"type": ["string", "null"]},
                    tokens,
                    {**several, "items": {"anyOf": [text, tokens]}},
                ]
            },
            "n": maybe("integer", minimum=1, maximum=CHOICES_MAX),
            "max_tokens": maybe("integer", minimum=0, maximum=INT_MAX, default=MAX_TOKENS),
            "temperature": {
                "anyOf": [
                    {"enum": [None, 0]},
                    {"type": "number", "minimum": TEMPERATURE_MIN, "maximum": TEMPERATURE_MAX},
                ],
                "default": 1,
            },
            "top_p": maybe("number", exclusiveMinimum=0, maximum=1),
            "stop": {
                "anyOf": [
                    {"type": ["string", "null"], "minLength": 1},
                    {"type": "array", "maxItems": STOPS_MAX, "items": {**text, "minLength": 1}},
                ]
            },
            "seed": maybe("integer", minimum=-INT_MAX - 1, maximum=INT_MAX),
            "logprobs": maybe("integer", minimum=0, maximum=LOGPROBS_MAX),
            "echo": maybe("boolean"),
            "stream": maybe("boolean"),
            "stream_options": maybe(
                "object",
                properties={"include_usage": {"type": "boolean"}},
                additionalProperties=False,
            ),
            "user": maybe("string"),
            "best_of": maybe("integer", minimum=1, maximum=CHOICES_MAX),
            **{name: {"enum": list(values)} for name, values in NEUTRAL.items()},
        },
    }


def _answers() -> dict[str, Any]:
    text, count = {"type": "string"}, {"type": "integer"}
    nullable = {"type": ["string", "integer", "null"]}
    error = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {"message": text, "type": text, "param": nullable, "code": nullable},
    }
    model = {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {"id": text, "object": {"const": "model"}, "created": count},
    }
    choice = {
        "type": "object",
        "required": ["index", "text", "logprobs", "finish_reason"],
        "properties": {
            "index": count,
            "text": text,
            "logprobs": {"type": ["object", "null"]},
            "finish_reason": {"enum": ["stop", "length", None]},
        },
    }
    names = ("id", "object", "created", "model", "choices", "usage", "system_fingerprint")
    completion = {
        "type": "object",
        "required": list(names),
        "properties": {"choices": {"type": "array", "items": choice}, "created": count},
    }
    errors = {"type": "object", "required": ["error"], "properties": {"error": error}}
    return {"Error": errors, "Model": model, "Completion": completion}
