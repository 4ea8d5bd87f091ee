"""OpenAI's requests and bodies: every field is meant or refused."""

import json
from typing import Any

import pytest

from sampler.completions import BadRequest, choice_of, order_of, read_request, usage
from sampler.order import Piece, Score, Settings
from tests.sampler.test_sampling import MODEL

pytestmark = pytest.mark.unit


def request(**values: Any) -> bytes:
    return json.dumps(values).encode()


def test_what_is_not_said_is_what_openai_means_by_it() -> None:
    read = read_request(b"{}")

    assert read.prompts == ("",)
    assert read.settings == Settings(temperature=1.0, max_tokens=16)
    assert (read.n, read.model, read.seed, read.stream, read.echo) == (1, None, None, False, False)


def test_nulls_and_fields_that_change_nothing_are_as_if_unsaid() -> None:
    names = ["model", "prompt", "n", "max_tokens", "temperature", "top_p", "stop", "seed"]
    names += ["logprobs", "echo", "stream", "stream_options", "suffix", "logit_bias", "user"]
    unsaid = read_request(b"{}")

    assert read_request(request(**dict.fromkeys(names))) == unsaid
    neutral = {"best_of": 1, "presence_penalty": 0.0, "frequency_penalty": 0, "logit_bias": {}}
    assert read_request(request(**neutral)) == unsaid


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ab", ("ab",)),
        (["ab", ""], ("ab", "")),
        ([0, 1], ((0, 1),)),
        ([[0], [1, 1]], ((0,), (1, 1))),
        (["a", [1]], ("a", (1,))),
    ],
)
def test_prompts_are_text_or_tokens_one_or_many(prompt: Any, expected: tuple[Any, ...]) -> None:
    assert read_request(request(prompt=prompt)).prompts == expected


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 2.0}, "n"),
        ({"n": 65, "prompt": ["", ""]}, "n"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 101}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": 1}, "echo"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1.5}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": True}, "best_of"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"suffix": ""}, "suffix"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"model": 5}, "model"),
        ({"user": 5}, "user"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(values: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest, match=r"expected .*, got ") as error:
        read_request(request(**values))

    assert error.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'"a"',
        b"[" * 10_000,
        b"{1: 2}",
        b'{"user": "\\ud800"}',
        '{"n": 1}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="expected a JSON object"):
        read_request(body)


def test_a_field_that_is_said_twice_is_refused() -> None:
    with pytest.raises(BadRequest, match='"n" twice') as error:
        read_request(b'{"n": 1, "n": 2}')

    assert error.value.param == "n"


def test_best_of_may_be_as_many_as_n() -> None:
    assert read_request(request(best_of=3, n=3)).n == 3


@pytest.mark.parametrize("prompt", [[2], [-1], [10**30], [0] * 8])
def test_tokens_that_the_model_cannot_go_on_from_are_refused(prompt: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        order_of(MODEL, read_request(request(prompt=prompt)), 0)


def test_usage_counts_bos_on_both_sides() -> None:
    order = order_of(MODEL, read_request(request(prompt=["ab", ""], n=3)), 0)

    assert usage(order, 10) == {"prompt_tokens": 4, "completion_tokens": 10, "total_tokens": 14}


def test_a_choice_has_the_prompt_before_it_if_it_is_to_be_echoed() -> None:
    asked = read_request(request(prompt="ab", echo=True, logprobs=1))
    order = order_of(MODEL, asked, 0)
    scores = tuple(Score(token, -0.5, ((token, -0.5),)) for token in "abb")
    piece = Piece(0, "b", scores, 1, "stop")

    assert choice_of(asked, order, piece, 0, is_first=True) == {
        "index": 0,
        "text": "abb",
        "finish_reason": "stop",
        "logprobs": {
            "tokens": ["a", "b", "b"],
            "token_logprobs": [-0.5] * 3,
            "top_logprobs": [{"a": -0.5}, {"b": -0.5}, {"b": -0.5}],
            "text_offset": [0, 1, 2],
        },
    }
