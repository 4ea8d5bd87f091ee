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
from sampler.model import Follower, ServedModel
from wire.errors import MalformedFrame
from wire.sampling import (
    BAD_REQUEST,
    BUSY,
    NO_CHECKPOINT,
    SampleReply,
    SampleRequest,
    decode_request,
    encode_reply,
)
from wire.transport import Listener

WAIT_S = 0.1  # how long an idle loop waits; bounds how late a stop is noticed
REFRESH_S = 0.5  # how often it looks for a newer checkpoint
JOBS_MAX = 64  # requests under way; one more is told to come back
MESSAGES_PER_TURN = 100  # so that a flood cannot keep the work from being done
FRAME_BYTES_MAX = 64 * 1024  # far above a request
ENVELOPE_FRAMES_MAX = 4  # routing frames that a client or a proxy may put before the request


@dataclass(slots=True)
class Job:
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
        self._jobs: deque[Job] = deque()
        self._refreshed_s = float("-inf")

    def serve(self, is_stopping: Callable[[], bool], on_bound: Callable[[str], None]) -> None:
        """Answer until stopped.

        Raises:
            AddressInUse, TransportError: the address cannot be bound.
        """
        with Listener(self._bind, FRAME_BYTES_MAX) as listener:
            on_bound(listener.address)
            while not is_stopping():
                listener.wait(0.0 if self._jobs else WAIT_S)
                self._forget(listener.departed())
                self._refresh()
                self._drain(listener)
                if self._jobs:
                    self._advance(listener, self._jobs.popleft())

    def _drain(self, listener: Listener) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = listener.receive()
            if received is None:
                return
            self._accept(listener, *received)

    def _forget(self, departed: list[bytes]) -> None:
        self._jobs = deque(job for job in self._jobs if job.peer not in departed)

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
            return  # no client of ours, and no envelope to answer in
        *envelope, body = frames
        result = self._begin(peer, envelope, body)
        if isinstance(result, Job):
            self._jobs.append(result)
        else:
            listener.send(peer, [*envelope, encode_reply(result)])

    def _begin(self, peer: bytes, envelope: list[bytes], body: bytes) -> Job | SampleReply:
        if len(self._jobs) >= JOBS_MAX:
            return SampleReply(
                code=BUSY, text=f"expected at most {JOBS_MAX} requests at once; try again"
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
        if request.rng == "microgpt":
            return Job(peer, envelope, request, model, prompt, None, model.microgpt_rng())
        seed = secrets.randbits(32) if request.seed is None else request.seed
        return Job(peer, envelope, request, model, prompt, seed, random.Random(seed))

    def _advance(self, listener: Listener, job: Job) -> None:
        request, model = job.request, job.model
        job.samples.append(model.draw(job.rng, request.temperature, job.prompt, request.max_tokens))
        if len(job.samples) < request.n:
            self._jobs.append(job)
            return
        reply = SampleReply(tuple(job.samples), model.step, model.sha256, job.seed)
        listener.send(job.peer, [*job.envelope, encode_reply(reply)])
