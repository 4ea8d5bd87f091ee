"""The sampler's HTTP door, as OpenAI's own client and everything else that knocks finds it."""

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import openai
import pytest

from tests.integration.flock import ROOT, Lab, Process, Train, checkpointed_step, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

FINISHED = Job(steps=4)
ESTABLISHED = "01"  # in /proc/net/tcp


def http_of(sampler: Process) -> str:
    return sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2]


@pytest.fixture(scope="module")
def finished(shared_lab: Lab) -> Train:
    train = shared_lab.train(FINISHED, "--workers=1", "--checkpoint-every=2")
    train.summary()
    return train


@pytest.fixture(scope="module")
def url(shared_lab: Lab, finished: Train) -> Iterator[str]:
    """Where a sampler answers that follows the finished run; it must outlive every test."""
    sampler = serve(shared_lab, finished)
    sampler.wait_until_it_says("serving step 4")
    yield http_of(sampler)
    assert sampler.is_running, sampler.stderr
    assert "Traceback" not in sampler.stderr


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def serve(lab: Lab, train: Train, *flags: str) -> Process:
    return lab.start("serve", f"--run-dir={train.run_dir}", "--bind=tcp://127.0.0.1:0", *flags)


# ---- OpenAI's client -----------------------------------------------------------------------------


def test_the_client_completes(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="documents", prompt="ma", n=3, seed=5, max_tokens=2)

    sha256 = FINISHED.expected().weights_sha256
    assert reply.system_fingerprint == f"step-4-{sha256[:12]}"
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in reply.choices} <= {"stop", "length"}
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 3
    assert reply.usage.total_tokens == 3 + reply.usage.completion_tokens


def test_the_client_streams_what_it_would_have_been_given_at_once(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "documents",
        "prompt": ["m", "a"],
        "n": 4,
        "seed": 6,
        "echo": True,
    }
    whole = client.completions.create(**asked)
    chunks = [
        *client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    ]

    *pieces, last = chunks
    texts = [""] * 8
    for chunk in pieces:
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert texts[0][0] == "m"
    assert texts[4][0] == "a"
    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_with_every_letter(client: openai.OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "documents", "prompt": "ma", "seed": 7, "echo": True}
    reply = client.completions.create(**asked, logprobs=3, stream=stream)

    choices = [chunk.choices[0] for chunk in reply] if stream else reply.choices
    text = "".join(choice.text for choice in choices)
    tokens: list[str] = []
    offsets: list[int] = []
    for choice in choices:
        assert choice.logprobs is not None
        tokens += choice.logprobs.tokens or []
        offsets += choice.logprobs.text_offset or []
        for own, top in zip(
            choice.logprobs.token_logprobs or [], choice.logprobs.top_logprobs or [], strict=True
        ):
            assert own <= 0
            assert len(top) == 3
    assert tokens == [*text]
    assert offsets == [*range(len(text))]


def test_the_client_lists_every_checkpoint_as_a_model(client: openai.OpenAI) -> None:
    name = "documents"  # as the lab's file is called
    ids = [model.id for model in client.models.list()]

    assert ids == [name, f"{name}@4", f"{name}@2", f"{name}@0"]
    assert client.models.retrieve(f"{name}@2").id == f"{name}@2"
    early = client.completions.create(model=f"{name}@2", prompt="")
    assert str(early.system_fingerprint).startswith("step-2-")


def test_the_client_gets_errors_of_its_own_kinds(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature") as bad:
        client.completions.create(model="documents", prompt="", temperature=1000)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="got 'Ω'"):
        client.completions.create(model="documents", prompt="Ω")
    with pytest.raises(openai.BadRequestError, match="best_of"):
        client.completions.create(model="documents", prompt="", best_of=2)
    with pytest.raises(openai.NotFoundError) as gone:
        client.completions.create(model="gpt-4", prompt="")
    assert gone.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("documents@3")


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/completions", b"", 405),
        ("POST", "/v1/models", b"", 405),
        ("GET", "/nowhere", b"", 404),
        ("POST", "/v1/completions", b"", 400),
        ("POST", "/v1/completions", b"\xff\xfe", 400),
        ("POST", "/v1/completions", b"[" * 60_000, 400),
        ("POST", "/v1/completions", b'{"n": NaN}', 400),
        ("POST", "/v1/completions", b'{"prompt": "\\ud800"}', 400),
        ("POST", "/v1/completions", b'{"\\ud800": 1}', 400),
        ("POST", "/v1/completions", b'{"seed": 1' + b"0" * 5000 + b"}", 400),
        ("POST", "/v1/completions", b'{"stream": 1}', 400),
        ("POST", "/v1/completions", b'{"stream_options": {}}', 400),
        ("POST", "/v1/completions", b'{"prompt": []}', 400),
        ("POST", "/v1/completions", b'{"prompt": [true]}', 400),
        ("POST", "/v1/completions", b'{"prompt": [99]}', 400),
        ("POST", "/v1/completions", b'{"n": 129}', 400),
        ("POST", "/v1/completions", b'{"tools": []}', 400),
        ("POST", "/v1/completions", b" " * 70_000, 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_answered_is_refused_in_openais_shape(
    url: str, method: str, path: str, body: bytes, status: int
) -> None:
    reply = httpx.request(method, url + path, content=body)

    assert reply.status_code == status
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
    assert ("allow" in reply.headers) == (status == 405)


def test_before_the_first_checkpoint_it_is_alive_and_not_ready(lab: Lab) -> None:
    sampler = lab.start("serve", f"--run-dir={lab.directory / 'x'}", "--bind=tcp://127.0.0.1:0")
    url = http_of(sampler)

    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/readyz").status_code == 503
    reply = httpx.post(f"{url}/v1/completions", json={})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["type"] == "unavailable_error"


def test_more_at_once_than_it_takes_are_told_to_come_back(url: str) -> None:
    """Every one is answered: with names, or with 429 and when to try again."""
    limits = httpx.Limits(max_connections=400)
    with httpx.Client(limits=limits, timeout=60) as client, ThreadPoolExecutor(400) as threads:
        body = {"n": 128, "temperature": 100}
        waiting = [
            threads.submit(client.post, f"{url}/v1/completions", json=body) for _ in range(400)
        ]
        replies = [one.result() for one in waiting]

    found = {reply.status_code for reply in replies}
    assert 200 in found
    assert found <= {200, 429}
    assert all(reply.headers["retry-after"] == "1" for reply in replies if reply.status_code == 429)


def test_a_reader_that_takes_nothing_and_one_that_leaves_are_drawn_for_no_longer(url: str) -> None:
    body = json.dumps({"n": 128, "stream": True, "logprobs": 5, "temperature": 100}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = url.removeprefix("http://").rpartition(":")
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.create_connection((host, int(port))))
            slow.sendall(head.encode() + body)
        for _ in range(20):
            with socket.create_connection((host, int(port))) as leaves:
                leaves.sendall(head.encode() + body)

        for part in (head.encode(), (head.encode() + body).replace(b"true", b"null")):
            for _ in range(20):
                with socket.create_connection((host, int(port))) as leaves:
                    leaves.sendall(part)

        assert httpx.post(f"{url}/v1/completions", json={}).status_code == 200
        wait_until("nothing to be open", lambda: _metric(url, "open_orders") == 0)


def test_idle_connections_keep_nobody_out(url: str) -> None:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with ExitStack() as stack:
        for number in range(200):
            idle = stack.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                idle.sendall(b"POST /v1/comp")

        assert httpx.post(f"{url}/v1/completions", json={}).status_code == 200


@pytest.mark.long
def test_who_does_not_finish_a_request_is_not_waited_for(url: str) -> None:
    host, _, port = url.removeprefix("http://").rpartition(":")
    beginnings = {
        b"": b"",
        b"POST /v1/comp": b"",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{": b"HTTP/1.1 408",
    }
    with ExitStack() as stack:
        waiting = {}
        for beginning, answer in beginnings.items():
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.settimeout(60)
            connection.sendall(beginning)
            waiting[connection] = answer
        for connection, answer in waiting.items():
            assert connection.recv(len(answer) or 1) == answer


def test_only_so_many_streams_wait_for_their_readers(url: str) -> None:
    """Each holds memory until it is read: a crowd of slow readers must not fill it."""
    asked = {"n": 128, "stream": True, "logprobs": 5, "temperature": 100}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = url.removeprefix("http://").rpartition(":")
    codes = []
    with ExitStack() as stack:
        for _ in range(70):
            slow = stack.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            slow.sendall(head.encode() + body)
            codes.append(slow.recv(12).decode()[-3:])

        assert codes == ["200"] * 64 + ["429"] * 6
        assert httpx.post(f"{url}/v1/completions", json={}).status_code == 200
    wait_until("room again", lambda: _stream_code(url) == 200)


def _stream_code(url: str) -> int:
    return httpx.post(f"{url}/v1/completions", json={"stream": True}).status_code


@pytest.mark.long
def test_a_stream_that_nobody_takes_is_cut(url: str) -> None:
    """Seen from the server's end: a reader that takes nothing does not see the end come."""
    asked = {"n": 128, "stream": True, "logprobs": 5, "temperature": 100}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(head.encode() + body)
        own, here = f":{int(port):04X}", f":{slow.getsockname()[1]:04X}"
        wait_until("it to be there", lambda: _state(own, here) == ESTABLISHED)

        wait_until("it to be cut", lambda: _state(own, here) != ESTABLISHED, within_s=75)


def _state(local: str, remote: str) -> str:
    """Give a connection's state as the system has it; empty once it is forgotten."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(remote):
            return fields[3]
    return ""


def _metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics").text
    (value,) = re.findall(rf"^gradflock_sampler_{name} (\S+)$", text, re.MULTILINE)
    return float(value)


# ---- the run beside it ---------------------------------------------------------------------------


def test_a_stop_answers_what_is_under_way_and_takes_no_more(lab: Lab, finished: Train) -> None:
    sampler = serve(lab, finished)
    url = http_of(sampler)
    asked = {"n": 128, "temperature": 100, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=60) as reply:
        sampler.send(signal.SIGTERM)
        text = reply.read().decode()

    assert text.endswith("data: [DONE]\n\n")
    assert sampler.exit_code() == 0
    assert "Traceback" not in sampler.stderr


def test_the_last_good_checkpoint_stays_when_the_run_is_spoilt_or_gone(
    lab: Lab, finished: Train
) -> None:
    train = lab.train(FINISHED, "--workers=1", "--checkpoint-every=1")
    train.summary()
    sampler = serve(lab, train)
    url = http_of(sampler)
    before = httpx.post(f"{url}/v1/completions", json={"seed": 1, "n": 9}).json()
    checkpoints = train.run_dir / "checkpoints"
    for data in checkpoints.glob("*.safetensors"):
        data.write_bytes(data.read_bytes()[:-1] + b"?")
    (checkpoints / "step-00000009.json").write_text("{}")
    sampler.wait_until_it_says("passed over a checkpoint")
    spoilt = httpx.post(f"{url}/v1/completions", json={"seed": 1, "n": 9}).json()
    for path in checkpoints.iterdir():
        path.unlink()
    assert checkpointed_step(train.run_dir) == -1

    gone = httpx.post(f"{url}/v1/completions", json={"seed": 1, "n": 9}).json()
    early = httpx.post(f"{url}/v1/completions", json={"model": "documents@2"})

    assert before["choices"] == spoilt["choices"] == gone["choices"]
    assert before["system_fingerprint"] == gone["system_fingerprint"]
    assert early.status_code == 404


def test_a_newer_checkpoint_is_served_within_a_second(lab: Lab) -> None:
    train = lab.train(Job(steps=100_000), "--workers=1", "--checkpoint-every=20")
    train.wait_for_step(20)
    sampler = serve(lab, train)
    url = http_of(sampler)
    sampler.wait_until_it_says("serving step")

    late = []
    for _ in range(10):
        saved = checkpointed_step(train.run_dir)
        seen_s = time.monotonic()
        wait_until("it", lambda saved=saved: _metric(url, "checkpoint_step") >= saved)
        late.append(time.monotonic() - seen_s)

    assert median(late) < 1.0  # a busy machine may be late once


def test_the_curl_examples_of_the_readme_work_as_printed(url: str) -> None:
    """Only address and model differ: the reader's run has another port, and other documents."""
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^(curl .*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    assert len(commands) >= 3
    for command in commands:
        here = command.replace("http://127.0.0.1:8000", url).replace('"names"', '"documents"')
        words = shlex.split(here.replace("\\\n", ""))
        shown = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0, shown.stderr
        assert '"error"' not in shown.stdout, shown.stdout
        assert shown.stdout
