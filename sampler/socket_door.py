"""The sampler's ZeroMQ door: what peers of its ROUTER ask for, and what they are told.

Source: zguide, chapter 3, "The Extended Reply Envelope": frames before the request are its sender's
affair, and go back as they came.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.errors import EngineError
from sampler.model import ModelDiverged, ServedModel
from sampler.models import Models
from sampler.order import Order, Piece, Settings
from wire.errors import MalformedFrame
from wire.sampling import (
    BAD_REQUEST,
    DIVERGED,
    NO_CHECKPOINT,
    NO_MODEL,
    STOPPING,
    SampleReply,
    SampleRequest,
    decode_request,
    encode_reply,
)

ENVELOPE_FRAMES_MAX = 4  # routing frames that a client or a proxy may put before the request
SLOW_READER_S = 10.0  # how long a peer may take nothing before its request is dropped

Send = Callable[[bytes, Sequence[bytes]], bool]


@dataclass(eq=False, slots=True)
class Call:
    """One request of a peer.

    Attributes:
        samples: the texts so far, prompts included.
        unsent: replies that the peer's queue had no room for.
        stuck_s: since when it has had none.
        is_over: nothing more will be said.
    """

    peer: bytes
    envelope: list[bytes]
    order: Order
    samples: list[str]
    began_s: float
    ended: int = 0
    unsent: deque[bytes] = field(default_factory=deque)
    stuck_s: float | None = None
    is_over: bool = False


class SocketDoor:
    """The requests that came through the socket and are not answered yet."""

    def __init__(self, models: Models, send: Send, fresh_seed: Callable[[], int]) -> None:
        """Make the door.

        Args:
            send: takes (peer, frames); False if the peer is gone or its queue is full.
        """
        self._models = models
        self._send = send
        self._fresh_seed = fresh_seed
        self._calls: dict[Order, Call] = {}

    @property
    def num_open(self) -> int:
        return len(self._calls)

    def begin(
        self, peer: bytes, frames: list[bytes], now: float, is_draining: bool
    ) -> Order | SampleReply | None:
        """Read a message; give the order that it makes, or the reply that refuses it.

        None is a message without an envelope to answer in.
        """
        if not 1 <= len(frames) <= ENVELOPE_FRAMES_MAX:
            return None
        *envelope, body = frames
        model = self._models.newest
        try:
            request = decode_request(body)
            if is_draining:
                return self._refusal(STOPPING, "expected no more requests: the sampler is stopping")
            if model is None:
                text = "expected a checkpoint, got none yet; try again soon"
                return self._refusal(NO_CHECKPOINT, text)
            if request.model is not None:
                model = self._models.find(request.model)
            if model is None:
                return self._refusal(
                    NO_MODEL, f"expected a model of this run, got {request.model!r:.60}"
                )
            order = order_of(model, request, self._fresh_seed)
        except (MalformedFrame, EngineError, ValueError) as error:
            return self._refusal(BAD_REQUEST, str(error))
        self._calls[order] = Call(peer, envelope, order, [request.prompt] * request.n, now)
        return order

    def refuse(self, peer: bytes, frames: list[bytes], reply: SampleReply) -> None:
        self._send(peer, [*frames[:-1], encode_reply(reply)])

    def tell(self, order: Order, outcome: Sequence[Piece] | ModelDiverged, now: float) -> None:
        """Tell a peer what was drawn for it."""
        call = self._calls[order]
        if isinstance(outcome, ModelDiverged):
            call.is_over = True
            self._reply(call, self._refusal(DIVERGED, str(outcome)), now)
            return
        for piece in outcome:
            call.samples[piece.choice] += piece.text
            call.ended += bool(piece.finish_reason)
        model = order.model
        origin = (model.step, model.sha256, order.seed)
        if order.is_streamed and outcome:
            pieces = tuple((one.choice, one.text, one.finish_reason) for one in outcome)
            self._reply(call, SampleReply((), *origin, run=model.run, pieces=pieces), now)
        if call.ended == order.choices:
            call.is_over = True
            self._reply(call, SampleReply(tuple(call.samples), *origin, run=model.run), now)

    def settle(self, now: float) -> list[Call]:
        """Send what there was no room for; give the calls that are over.

        A peer that takes nothing for SLOW_READER_S is as good as gone.
        """
        over = []
        for call in list(self._calls.values()):
            self._flush(call, now)
            is_stuck = call.stuck_s is not None and now - call.stuck_s > SLOW_READER_S
            if is_stuck or (call.is_over and not call.unsent):
                over.append(self._calls.pop(call.order))
        return over

    def forget(self, peers: Sequence[bytes]) -> list[Order]:
        """Give up the calls of peers that are gone."""
        gone = [order for order, call in self._calls.items() if call.peer in peers]
        for order in gone:
            del self._calls[order]
        return gone

    def _refusal(self, code: str, text: str) -> SampleReply:
        model = self._models.newest
        return SampleReply(code=code, text=text, run="" if model is None else model.run)

    def _reply(self, call: Call, reply: SampleReply, now: float) -> None:
        call.unsent.append(encode_reply(reply))
        self._flush(call, now)

    def _flush(self, call: Call, now: float) -> None:
        while call.unsent:
            if not self._send(call.peer, [*call.envelope, call.unsent[0]]):
                call.stuck_s = now if call.stuck_s is None else call.stuck_s
                return
            call.unsent.popleft()
            call.stuck_s = None


def order_of(model: ServedModel, request: SampleRequest, fresh_seed: Callable[[], int]) -> Order:
    """Give the order that a request makes of a model.

    Raises:
        EngineError, ValueError: the model cannot go on from its prompt.
    """
    seed = request.seed
    if request.rng == "seed" and seed is None:
        seed = fresh_seed()
    settings = Settings(request.temperature, request.top_p, request.max_tokens)
    prompt = tuple(model.check_prompt(request.prompt))
    return Order(model, (prompt,), request.n, settings, seed, request.stream)
