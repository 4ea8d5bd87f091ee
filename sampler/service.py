"""The sampler's loop: a ROUTER socket that any REQ or DEALER client can ask for names.

One document of one request at a time, in turn, so that a request for a thousand names does not make
the others wait for all of them.
"""

import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import EngineError
from sampler.model import Follower, ModelDiverged, ServedModel
from wire.errors import MalformedFrame
from wire.sampling import (
    BAD_REQUEST,
    BUSY,
    DIVERGED,
    NO_CHECKPOINT,
    SampleReply,
    SampleRequest,
    decode_request,
    encode_reply,
)
from wire.transport import Listener

WAIT_S = 0.1  # how long an idle loop waits; bounds how late a stop is noticed
REFRESH_S = 0.1  # how often it looks for a newer checkpoint
OPEN_REQUESTS_MAX = 64  # requests under way; one more is told to come back
MESSAGES_PER_TURN = 100  # so that a flood cannot keep the work from being done
FRAME_BYTES_MAX = 64 * 1024  # far above a request
REFUSED_SHOWN = 10  # refused requests that get a line each; then only each power of ten
ENVELOPE_FRAMES_MAX = 4  # routing frames that a client or a proxy may put before the request


@dataclass(slots=True)
class OpenRequest:
    """One request under way; all of its samples are drawn from one checkpoint."""

    peer: bytes
    envelope: list[bytes]
    request: SampleRequest
    model: ServedModel
    prompt: list[int]
    seed: int | None
    rng: random.Random
    samples: list[str] = field(default_factory=list)


class SamplerService:
    """One sampler process."""

    def __init__(self, run_dir: Path, bind: str, observe: Callable[[str], None]) -> None:
        """Make the service; nothing is bound yet.

        Args:
            observe: told every line that a person may want to read.
        """
        self._follower = Follower(run_dir)
        self._bind = bind
        self._observe = observe
        self._open: deque[OpenRequest] = deque()
        self._refused = 0
        self._refreshed_s = float("-inf")

    def serve(self, is_stopping: Callable[[], bool], on_bound: Callable[[str], None]) -> None:
        """Answer until stopped.

        Raises:
            AddressInUse, TransportError: the address cannot be bound.
        """
        with Listener(self._bind, FRAME_BYTES_MAX) as listener:
            on_bound(listener.address)
            while not is_stopping():
                listener.wait(0.0 if self._open else WAIT_S)
                self._forget(listener.departed())
                for stranger in listener.strangers():
                    self._refuse(f"a connection said nothing: it {stranger}")
                self._refresh()
                self._drain(listener)
                if self._open:
                    self._advance(listener, self._open.popleft())

    def _drain(self, listener: Listener) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = listener.receive()
            if received is None:
                return
            self._accept(listener, *received)

    def _forget(self, departed: list[bytes]) -> None:
        self._open = deque(opened for opened in self._open if opened.peer not in departed)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = now
        before = self._follower.model
        for complaint in self._follower.refresh():
            self._observe(f"passed over a checkpoint: {complaint}")
        model = self._follower.model
        if model is not None and model is not before:
            self._observe(f"serving step {model.step}, weights {model.sha256[:12]}")

    def _accept(self, listener: Listener, peer: bytes, frames: list[bytes]) -> None:
        if not 1 <= len(frames) <= ENVELOPE_FRAMES_MAX:
            self._refuse(f"expected at most {ENVELOPE_FRAMES_MAX} frames, got {len(frames)}")
            return  # there is no envelope to answer in
        *envelope, body = frames
        result = self._begin(peer, envelope, body)
        if isinstance(result, OpenRequest):
            self._open.append(result)
        else:
            self._refuse(result.text)
            listener.send(peer, [*envelope, encode_reply(result)])

    def _begin(self, peer: bytes, envelope: list[bytes], body: bytes) -> OpenRequest | SampleReply:
        if len(self._open) >= OPEN_REQUESTS_MAX:
            return SampleReply(
                code=BUSY, text=f"expected at most {OPEN_REQUESTS_MAX} requests at once; try again"
            )
        try:
            request = decode_request(body)
            model = self._follower.model
            if model is None:
                return SampleReply(
                    code=NO_CHECKPOINT, text="expected a checkpoint, got none yet; try again soon"
                )
            prompt = model.check_prompt(request.prompt)
        except (MalformedFrame, EngineError, ValueError) as error:
            return SampleReply(code=BAD_REQUEST, text=str(error))
        rng, seed = model.rng_for(request, secrets.randbits(32))
        return OpenRequest(peer, envelope, request, model, prompt, seed, rng)

    def _advance(self, listener: Listener, opened: OpenRequest) -> None:
        """Draw one more document, and answer if it was the last."""
        request, model = opened.request, opened.model
        try:
            name = model.draw(opened.rng, request.temperature, opened.prompt, request.max_tokens)
        except ModelDiverged as error:
            reply = SampleReply(code=DIVERGED, text=str(error))
        else:
            opened.samples.append(name)
            if len(opened.samples) < request.n:
                self._open.append(opened)
                return
            reply = SampleReply(tuple(opened.samples), model.step, model.sha256, opened.seed)
        listener.send(opened.peer, [*opened.envelope, encode_reply(reply)])

    def _refuse(self, reason: str) -> None:
        self._refused += 1
        if self._refused <= REFUSED_SHOWN or str(self._refused).strip("0") == "1":
            self._observe(f"refused request {self._refused}: {reason}")
