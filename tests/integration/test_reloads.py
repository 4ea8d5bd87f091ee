"""Sampling while somebody saves as fast as the disk allows: a reply is of one step, and whole.

The run keeps one checkpoint only, so what a sampler is about to read may be gone.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sampler.model import Follower, ServedModel
from sampler.sampling import draw_all
from sampler.socket_door import order_of
from tests.integration.callers import Callers
from tests.integration.flock import Lab, free_address
from tests.integration.saves import checkpoint
from tests.trials import trials
from wire.sampling import SampleReply, SampleRequest, decode_reply, encode_request

pytestmark = pytest.mark.integration

SEED = 6
RELOADS = 1000
KEEP = "1"
SHARED_MEMORY = Path("/dev/shm")


@trials(gate=30, long=1000, soak=3000)
def test_a_save_during_sampling_never_tears_a_reply(lab: Lab, count: int) -> None:
    """A sample that no checkpoint gives could be explained to nobody."""
    address, run_dir = free_address(), lab.directory / "run"
    sampler = lab.start("serve", f"--run-dir={run_dir}", f"--bind={address}", "--http=off")
    saver = lab.start_script("tests.integration.saves", str(run_dir), KEEP)
    sampler.wait_until_it_says("serving step")
    rng = random.Random(SEED)
    steps = [-1]
    with Callers(address) as callers:
        client = callers.req()
        while len(steps) <= count:
            request = SampleRequest(n=rng.randrange(1, 4), seed=rng.getrandbits(32))
            client.send(encode_request(request))
            reply = decode_reply(client.recv())
            assert reply == drawn(reply.step, request)
            if reply.step != steps[-1]:
                steps.append(reply.step)

    assert steps == sorted(steps)
    assert saver.is_running, saver.stderr
    assert sampler.is_running, sampler.stderr
    said = sampler.stderr.splitlines()
    assert sum(line.startswith("serving step ") for line in said) >= count
    assert not [line for line in said if not line.startswith(("sampler at ", "serving step "))]


def drawn(step: int, request: SampleRequest) -> SampleReply:
    """Give the reply of whoever has the checkpoint of that step."""
    model = ServedModel(checkpoint(step))
    order = order_of(model, request, lambda: 0)
    return SampleReply(tuple(draw_all(order)), step, model.sha256, order.seed, run=model.run)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, if the system has one: a save that waits for no disk is a fast one."""
    is_there = os.access(SHARED_MEMORY, os.W_OK)
    with TemporaryDirectory(dir=SHARED_MEMORY if is_there else None) as path:
        yield Path(path)


def test_what_a_follower_serves_is_whole_and_newer_each_time(memory: Path, lab: Lab) -> None:
    """As fast as checkpoints come; and one that was removed meanwhile is nothing to complain of."""
    run_dir = memory / "run"
    saver = lab.start_script("tests.integration.saves", str(run_dir), KEEP)
    follower = Follower(run_dir)
    steps = [-1]
    while len(steps) <= RELOADS:
        assert saver.is_running, saver.stderr
        assert follower.refresh() == []
        model = follower.model
        if model is not None and model.step != steps[-1]:
            steps.append(model.step)
            assert model.sha256 == checkpoint(model.step).weights_sha256

    assert steps == sorted(steps)
