"""Nonsense by the thousand at both of the sampler's doors: the right code, and no growth."""

import json
import random
import string
from collections import Counter
from typing import Any

import httpx
import msgpack
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from tests.integration.callers import Callers
from tests.integration.flock import Lab, Process, free_address
from tests.integration.oracle import Job
from tests.memory import rss_bytes
from tests.trials import trials

pytestmark = pytest.mark.integration

SEED = 21
GROWTH_MIB = 24  # of a sampler, once it is warm
WARM = 300
NAMES = [
    *("model", "prompt", "n", "max_tokens", "temperature", "top_p", "stop", "seed", "logprobs"),
    *("echo", "stream", "stream_options", "user", "suffix", "best_of", "rng", "x"),
]
GOOD: dict[str, list[Any]] = {
    "model": ["documents", None],
    "prompt": ["", "a", "ma", None],
    "n": [1, 2],
    "max_tokens": [1, 3, None],
    "temperature": [0, 0.5, 1, 2.0],
    "top_p": [0.5, 1],
    "seed": [0, 7, None],
    "stream": [False],
}


def a_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, 1, -1, 5, 129, 10**6, 2**63, -(2**63), 2**64 - 1])
    if kind == 2:
        return rng.choice([0.0, 0.5, 1e-9, 1e300, -1.5])
    if kind in (3, 4):
        return "".join(rng.choices(string.printable + "éΩ\0", k=rng.randrange(20)))
    if kind in (5, 6):
        return rng.choice(["", "a", "documents@2", "documents@99999999999999999999", "ma"])
    if kind == 7:
        return [a_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): a_value(rng, depth + 1) for _ in range(rng.randrange(3))}


def a_request(rng: random.Random) -> dict[str, Any]:
    """A request that is right but for some of its fields."""
    names = rng.sample([*GOOD], rng.randrange(4))
    request: dict[str, Any] = {name: rng.choice(GOOD[name]) for name in names}
    for _ in range(rng.choice([0, 1, 1, 2])):
        request[rng.choice(NAMES)] = a_value(rng)
    return request


def spoilt(rng: random.Random, data: bytes) -> bytes:
    """The same, sometimes cut or with bytes changed."""
    if rng.random() < 0.7 or not data:
        return data
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.fixture
def sampler(lab: Lab) -> Process:
    train = lab.train(Job(steps=4), "--workers=1", "--checkpoint-every=2")
    train.summary()
    address = free_address()
    sampler = lab.start("serve", f"--run-dir={train.run_dir}", f"--bind={address}")
    sampler.wait_until_it_says("sampler at ")
    return sampler


def check_health(sampler: Process, warm_mib: float) -> None:
    assert sampler.is_running, sampler.stderr
    assert "Traceback" not in sampler.stderr
    assert rss_bytes(sampler.pid) / 2**20 - warm_mib < GROWTH_MIB


@trials(gate=1000, long=100_000, soak=300_000)
def test_nonsense_at_the_http_door_is_answered_and_leaves_nothing(
    sampler: Process, count: int
) -> None:
    url = sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2]
    rng = random.Random(SEED)
    codes: Counter[int] = Counter()
    warm_mib = 0.0
    with httpx.Client(timeout=60) as client:
        for number in range(WARM + count):
            if number == WARM:
                warm_mib = rss_bytes(sampler.pid) / 2**20
            body = spoilt(rng, json.dumps(a_request(rng)).encode())
            reply = client.post(f"{url}/v1/completions", content=body)
            codes[reply.status_code] += 1
            if reply.status_code != 200:
                assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
            elif "text/event-stream" in reply.headers["content-type"]:
                assert reply.text.endswith("data: [DONE]\n\n")
            else:
                assert reply.json()["choices"]

    assert codes.keys() == {200, 400, 404}
    assert min(codes.values()) > count / 1000
    check_health(sampler, warm_mib)


@trials(gate=1000, long=100_000, soak=300_000)
def test_nonsense_at_the_socket_is_answered_and_leaves_nothing(
    sampler: Process, count: int
) -> None:
    address = sampler.wait_until_it_says("sampler at ").split()[2].rstrip(",")
    rng = random.Random(SEED)
    codes: Counter[str] = Counter()
    warm_mib = 0.0
    with Callers(address) as callers:
        client = callers.req()
        for number in range(WARM + count):
            if number == WARM:
                warm_mib = rss_bytes(sampler.pid) / 2**20
            request = a_request(rng)
            if request.get("stream") is True:
                request["stream"] = False  # a REQ hears one reply only
            client.send(spoilt(rng, packed(request)))
            reply = msgpack.unpackb(client.recv())
            codes["samples" if "samples" in reply else reply["error"]["code"]] += 1

    assert codes.keys() == {"samples", "bad_request", "no_model"}
    check_health(sampler, warm_mib)


def packed(request: dict[str, Any]) -> bytes:
    try:
        data: bytes = msgpack.packb(request)
    except OverflowError:  # -(2**63) - 1 and such fit in JSON alone
        data = b"\xc1"
    return data


def test_schemathesis_finds_no_server_error(sampler: Process) -> None:
    """What the service's own OpenAPI document allows, and what it does not."""
    url = sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=100,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def probe(case: Any) -> None:
            reply = case.call()
            found[reply.status_code] += 1
            case.validate_response(reply, checks=[not_a_server_error])

        probe()
    assert min(found[200], found[400], found[404]) > 20
    assert "Traceback" not in sampler.stderr
