"""What a peer of the ZeroMQ door is told, also one that does not listen."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sampler.models import Models
from sampler.order import Order
from sampler.sampling import Sampling
from sampler.socket_door import SLOW_READER_S, SocketDoor
from tests.sampler.test_model import save, spoil
from wire.sampling import SampleReply, SampleRequest, decode_reply, encode_request

pytestmark = pytest.mark.unit


class Peer:
    """Hears what is sent to it, unless its queue is full."""

    def __init__(self) -> None:
        self.heard: list[SampleReply] = []
        self.is_full = False

    def send(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        assert (peer, [*frames[:-1]]) == (b"p", [b"id", b""])
        if not self.is_full:
            self.heard.append(decode_reply(frames[-1]))
        return not self.is_full


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def door(tmp_path: Path, peer: Peer) -> SocketDoor:
    save(tmp_path, 1, 2)
    models = Models(tmp_path)
    models.refresh()
    return SocketDoor(models, peer.send, lambda: 99)


def begin(door: SocketDoor, is_draining: bool = False, **fields: object) -> Order | SampleReply:
    request = encode_request(SampleRequest(**fields))  # type: ignore[arg-type]
    result = door.begin(b"p", [b"id", b"", request], 0.0, is_draining)
    assert result is not None
    return result


def draw(door: SocketDoor, order: Order | SampleReply, now: float = 0.0) -> None:
    assert isinstance(order, Order)
    sampling = Sampling()
    sampling.open(order)
    while sampling.num_open:
        for one, outcome in sampling.advance():
            door.tell(one, outcome, now)


def test_a_reply_has_the_samples_their_origin_and_the_seed(door: SocketDoor, peer: Peer) -> None:
    draw(door, begin(door, prompt="ab", n=3))

    (reply,) = peer.heard
    assert len(reply.samples) == 3
    assert all(sample.startswith("ab") for sample in reply.samples)
    assert (reply.step, reply.seed, reply.run) == (2, 99, "5f" * 16)
    assert [call.peer for call in door.settle(0.0)] == [b"p"]
    assert door.num_open == 0


def test_a_stream_is_told_in_pieces_and_then_whole(door: SocketDoor, peer: Peer) -> None:
    draw(door, begin(door, prompt="ab", n=5, stream=True, temperature=2.0))

    *parts, last = peer.heard
    texts, ends = ["ab"] * 5, [""] * 5
    for part in parts:
        assert (part.step, part.sha256) == (last.step, last.sha256)
        for sample, text, why in part.pieces:
            texts[sample] += text
            ends[sample] = why
    assert tuple(texts) == last.samples
    assert set(ends) <= {"stop", "length"}


def test_an_earlier_checkpoint_can_be_asked_for(door: SocketDoor, peer: Peer) -> None:
    draw(door, begin(door, model="names@1"))

    assert peer.heard[0].step == 1
    refused = begin(door, model="names@7")
    assert isinstance(refused, SampleReply)
    assert refused.code == "no_model"


def test_a_peer_whose_queue_is_full_hears_the_rest_later(door: SocketDoor, peer: Peer) -> None:
    order = begin(door, n=2, stream=True)
    peer.is_full = True
    draw(door, order)

    assert door.settle(1.0) == []
    peer.is_full = False
    assert len(door.settle(2.0)) == 1
    assert peer.heard[-1].samples


def test_a_peer_that_takes_nothing_for_long_is_given_up(door: SocketDoor, peer: Peer) -> None:
    order = begin(door)
    peer.is_full = True
    draw(door, order)

    assert door.settle(SLOW_READER_S) == []
    assert [call.order for call in door.settle(SLOW_READER_S + 0.1)] == [order]
    assert door.num_open == 0


def test_the_orders_of_a_peer_that_is_gone_are_given_up(door: SocketDoor) -> None:
    order = begin(door)

    assert door.forget([b"another"]) == []
    assert door.forget([b"p"]) == [order]


def test_a_sampler_that_is_stopping_says_so(door: SocketDoor) -> None:
    refused = begin(door, is_draining=True)

    assert isinstance(refused, SampleReply)
    assert refused.code == "stopping"


def test_models_are_the_newest_and_every_checkpoint(tmp_path: Path) -> None:
    directory = save(tmp_path, 1, 2, 3)
    models = Models(tmp_path)

    assert models.ids() == []
    assert models.find("names") is None
    models.refresh()
    assert [model_id for model_id, _ in models.ids()] == ["names", "names@3", "names@2", "names@1"]
    found = models.find("names@1")
    assert found is not None
    assert models.find("names@1") is found
    assert models.find("names") is models.newest
    for strange in ("", "@", "@1", "names@", "names@x", "names@-1", "names@" + "9" * 30, "other@1"):
        assert models.find(strange) is None
    spoil(directory, 2)
    assert models.find("names@2") is None
    with directory.lock():
        directory.revoke(0)
    assert models.find("names@1") is None
