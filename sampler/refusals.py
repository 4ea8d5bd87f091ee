"""Requests to the HTTP door that get an error for an answer, each in OpenAI's shape."""

import json
from typing import Any

from sampler.completions import error_body


class Refused(Exception):
    """Raised when a request gets an error for an answer.

    Attributes:
        status: of HTTP.
        body: what is told, OpenAI's error object.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def bad(message: str, param: str | None) -> Refused:
    return Refused(400, error_body(message, "invalid_request_error", param, None))


def busy() -> Refused:
    message = "expected fewer requests at once; try again"
    return Refused(429, error_body(message, "rate_limit_error", None, "busy"))


def gone() -> Refused:
    """Give what ends a request whose client has left; nobody hears it."""
    return Refused(400, error_body("expected a client, got none", "gone", None, None))


def no_model(model_id: str) -> Refused:
    message = f"expected a model of this run, got {json.dumps(model_id)[:60]}; see /v1/models"
    body = error_body(message, "invalid_request_error", "model", "model_not_found")
    return Refused(404, body)


def unavailable(message: str) -> Refused:
    return Refused(503, error_body(message, "unavailable_error", None, 503))
