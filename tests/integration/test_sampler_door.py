"""The sampler's door: what clients may ask, whatever else knocks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import pytest

from tests.integration.callers import Callers
from tests.integration.flock import ROOT, Lab, Process, Train, free_address, wait_until
from tests.integration.oracle import Job

pytestmark = pytest.mark.integration

FINISHED = Job(steps=4)


@pytest.fixture(scope="module")
def finished(shared_lab: Lab) -> Train:
    """A run that is over, whose newest checkpoint stays the newest."""
    train = shared_lab.train(FINISHED, "--workers=2")
    train.summary()
    return train


@pytest.fixture(scope="module")
def door(shared_lab: Lab, finished: Train) -> Iterator[str]:
    """The address of a sampler that follows the finished run; it must outlive every test."""
    address = free_address()
    sampler = shared_lab.start("serve", f"--run-dir={finished.run_dir}", f"--bind={address}")
    sampler.wait_until_it_says("serving step 4")
    sampler.wait_until_it_says("sampler at ")
    yield address
    assert sampler.is_running, sampler.stderr
    assert "Traceback" not in sampler.stderr


@pytest.fixture
def callers(door: str) -> Iterator[Callers]:
    with Callers(door) as callers:
        yield callers


def ask(callers: Callers, request: Any) -> dict[str, Any]:
    """Ask with a map, or with bytes as they are."""
    client = callers.req()
    client.send(request if isinstance(request, bytes) else msgpack.packb(request))
    reply: dict[str, Any] = msgpack.unpackb(client.recv())
    return reply


def sampled(process: Process) -> dict[str, Any]:
    assert process.exit_code() == 0, process.stderr
    values: dict[str, Any] = json.loads(process.stdout)
    return values


# ---- names ------------------------------------------------------------------------------------


def test_a_reply_names_its_step_its_weights_and_the_seed_that_draws_it_again(
    callers: Callers,
) -> None:
    """A sample without its origin cannot be reproduced, nor trusted."""
    reply = ask(callers, {"n": 3})
    again = ask(callers, {"n": 3, "seed": reply["seed"]})

    assert reply["step"] == 4
    assert reply["sha256"] == FINISHED.expected().weights_sha256
    assert len(reply["samples"]) == 3
    assert again == reply


def test_a_prompt_is_how_every_sample_begins(callers: Callers) -> None:
    """That is what a prompt promises."""
    reply = ask(callers, {"n": 5, "prompt": "ma", "max_tokens": 2})

    assert all(re.fullmatch("ma.{0,2}", sample) for sample in reply["samples"])


def test_both_doors_draw_the_same_names_from_the_same_seed(
    shared_lab: Lab, finished: Train, door: str
) -> None:
    """`sample` reads the run directory itself, or asks a sampler: one model, one answer."""
    flags = ["-n", "5", "--seed=3", "--prompt=a", "--json"]
    asked = shared_lab.start("sample", f"--connect={door}", *flags)
    drawn = shared_lab.start("sample", f"--run-dir={finished.run_dir}", *flags)

    assert sampled(asked) == sampled(drawn)
    assert sampled(asked)["step"] == 4


def test_rng_microgpt_draws_the_names_that_train_has_printed(
    shared_lab: Lab, finished: Train, door: str
) -> None:
    """microgpt's samples go on with the generator of the training; so must ours, later too."""
    flags = ["-n", "20", "--rng=microgpt", "--json"]
    asked = shared_lab.start("sample", f"--connect={door}", *flags)
    drawn = shared_lab.start("sample", f"--run-dir={finished.run_dir}", *flags)

    samples = finished.summary()["samples"]
    assert len(samples) == 20
    assert sampled(asked)["samples"] == sampled(drawn)["samples"] == samples


def test_the_client_of_the_readme_gets_names_while_training_goes_on(
    lab: Lab,
) -> None:
    """The first thing a reader copies; and the sampler must follow, not serve one step for ever."""
    address = free_address()
    train = lab.train(
        Job(steps=100_000), "--workers=1", "--checkpoint-every=2", f"--sampler-bind={address}"
    )
    train.wait_for_step(1)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (script,) = [block for block in blocks if "zmq" in block]
    assert "tcp://127.0.0.1:5556" in script

    shown = subprocess.run(
        [sys.executable, "-c", script.replace("tcp://127.0.0.1:5556", address)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert re.fullmatch(r"\[('\w*', ){4}'\w*'\] after \d+ steps\n", shown.stdout), shown.stderr
    with Callers(address) as callers:
        first = ask(callers, {})["step"]
        wait_until("a newer step", lambda: ask(callers, {})["step"] > first)
    assert train.is_running


def test_before_the_first_checkpoint_the_reply_says_so(lab: Lab) -> None:
    """A service may come up before its training does."""
    address = free_address()
    lab.start("serve", f"--run-dir={lab.directory / 'to-be'}", f"--bind={address}")

    with Callers(address) as callers:
        reply = ask(callers, {})

    assert reply["error"]["code"] == "no_checkpoint"


def test_a_dealer_hears_a_stream_in_pieces(callers: Callers) -> None:
    """Names appear letter by letter, and the whole comes at the end."""
    client = callers.dealer()
    request = {"n": 3, "prompt": "a", "stream": True, "seed": 2}
    client.send_multipart([b"mine", b"", msgpack.packb(request)])
    texts = ["a"] * 3
    while True:
        *envelope, body = client.recv_multipart()
        assert envelope == [b"mine", b""]
        reply = msgpack.unpackb(body)
        if "samples" in reply:
            break
        for sample, text, _why in reply["pieces"]:
            texts[sample] += text

    assert reply["samples"] == texts
    assert ask(callers, {**request, "stream": False})["samples"] == texts


def test_sample_asks_the_sampler_of_the_run_if_one_runs(
    shared_lab: Lab, finished: Train, door: str
) -> None:
    """Whether a sampler drew or the directory was read, the names are the same; streamed too."""
    (finished.run_dir / "sampler.address").write_text(door)
    before = served(shared_lab, door)
    flags = ["-n", "5", "--seed=3", f"--run-dir={finished.run_dir}"]
    streamed, whole = (shared_lab.start("sample", *flags, *more) for more in (["--stream"], []))
    assert streamed.exit_code() == whole.exit_code() == 0
    assert streamed.stdout == whole.stdout
    assert len(whole.stdout.splitlines()) == 5
    wait_until("two answers", lambda: served(shared_lab, door) == before + 2)

    (finished.run_dir / "sampler.address").write_text("tcp://127.0.0.1:9")
    assert shared_lab.run("sample", *flags).stdout == whole.stdout


def served(lab: Lab, door: str) -> int:
    """How many requests the sampler at an address has answered through its socket."""
    (sampler,) = (one for one in lab.started if f"sampler at {door}," in one.stderr)
    url = sampler.wait_until_it_says("HTTP at ").rpartition(" ")[2]
    found = re.search(
        r'requests_total{code="ok",door="zeromq"} (\S+)', httpx.get(f"{url}/metrics").text
    )
    return int(float(found[1])) if found else 0


# ---- everything else that knocks -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "msgpack"),
        (b"GET / HTTP/1.1\r\n\r\n", "msgpack"),
        (b"\xdf\xff\xff\xff\xff", "msgpack"),
        (b"x" * 5000, "at most 4096 bytes"),
        ([1, 2], "map"),
        ({"n": 5, "top_k": 3}, "top_k"),
        ({"n": {"n": {}}}, "flat"),
        ({"n": 0}, "n from 1 to 1000"),
        ({"n": 1001}, "n from 1 to 1000"),
        ({"n": True}, "n from 1 to 1000"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"rng": "dice"}, "rng"),
        ({"rng": "microgpt", "seed": 1}, "both"),
        ({"stream": 1}, "stream"),
        ({"top_p": 2}, "top_p"),
        ({"prompt": "Ω"}, "Ω"),
        ({"prompt": "aaaaaa"}, "fewer than 6"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_answered_is_refused_with_a_code_and_a_sentence(
    callers: Callers, request_: Any, words: str
) -> None:
    """A flag that is accepted and ignored is worse than none, and silence worse than both."""
    reply = ask(callers, request_)

    assert reply.keys() == {"error", "run"}
    assert reply["error"]["code"] == "bad_request"
    assert words in reply["error"]["text"]


def test_raw_tcp_and_shapeless_messages_and_idlers_do_not_stop_it(callers: Callers) -> None:
    """Port scanners, browsers and half-written clients are the weather of an open port."""
    for _ in range(20):
        callers.tcp()
        callers.dealer()
    callers.send_bytes_that_are_not_zmtp()
    shapeless = callers.dealer()
    for frames in ([b""], [b""] * 100, [os.urandom(100)] * 40, [b"", b"x" * 1_000_000]):
        for _ in range(20):
            shapeless.send_multipart(frames)

    reply = ask(callers, {"n": 2, "seed": 1})

    assert len(reply["samples"]) == 2


def test_many_clients_at_once_each_get_the_answer_to_their_own_question(callers: Callers) -> None:
    """Requests take turns sample by sample; an answer must not go to the neighbour."""
    askers = [callers.req() for _ in range(30)]
    for seed, asker in enumerate(askers):
        asker.send(msgpack.packb({"n": 1 + seed % 3, "seed": seed}))

    replies = [msgpack.unpackb(asker.recv()) for asker in askers]

    assert [reply["seed"] for reply in replies] == list(range(30))
    assert [len(reply["samples"]) for reply in replies] == [1 + seed % 3 for seed in range(30)]


@pytest.mark.long
def test_a_sampler_asked_for_at_a_wrong_address_is_one_line(lab: Lab) -> None:
    """Nobody listens: say so, and how to start one."""
    process = lab.run("sample", f"--connect={free_address()}")

    assert process.exit_code() == 1
    assert len(process.stderr.splitlines()) == 1
    assert "gradflock serve" in process.stderr
