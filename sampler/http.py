"""The sampler's HTTP door: OpenAI's completions, a page for people, and what operators ask.

It has a thread and an event loop of its own. What is drawn, the sampler's loop draws: an order is
handed over, and its pieces come back into a queue.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.errors import EngineError
from sampler import completions
from sampler.api_key import ApiKey
from sampler.completions import BadRequest, CompletionRequest, error_body, read_request
from sampler.model import ModelDiverged, ServedModel
from sampler.observed import Observed
from sampler.openapi import BODY_BYTES_MAX, document
from sampler.order import Order, Piece
from sampler.refusals import Refused, bad, busy, gone, no_model, unavailable
from sampler.streaming import END, Events, event, taken
from sampler.web_server import WebServer

BODY_S = 10.0  # how long a body may take to come
LOOK_S = 0.25  # how often one who waits for an answer is looked after
STREAMS_MAX = 64  # whose readers may lag: each holds up to 3 MB of pieces for them
RETRY_S = "1"
SEED_BITS = 32

Outcome: TypeAlias = Sequence[Piece] | ModelDiverged
NOT_READY = "expected a checkpoint, got none yet"
STOPPING = "expected no more requests: the sampler is stopping"


class Models(Protocol):
    """Which models can be asked for."""

    @property
    def newest(self) -> ServedModel | None: ...

    def ids(self) -> list[tuple[str, int]]: ...

    def find(self, model_id: str) -> ServedModel | None: ...


class Desk(Protocol):
    """Where orders are handed in, by any thread; `deliver` is called by another."""

    @property
    def models(self) -> Models: ...

    @property
    def is_draining(self) -> bool: ...

    def submit(self, order: Order, deliver: Callable[[Outcome], None]) -> bool: ...

    def cancel(self, order: Order) -> None: ...


class HttpDoor(WebServer):
    """The server of one sampler."""

    def __init__(
        self,
        desk: Desk,
        observed: Observed,
        host: str,
        port: int,
        page: bytes,
        version: str,
        api_key: str | None = None,
    ) -> None:
        """Bind, and begin to answer.

        Args:
            api_key: that a request below /v1 must have; None asks for none.

        Raises:
            AddressInUse: another process has the address.
            TransportError: it is none of this machine's.
        """
        observed.built(version)
        super().__init__(App(desk, observed, page, version, api_key).starlette(), host, port)


class App:
    """The routes, and what each answers."""

    def __init__(
        self, desk: Desk, observed: Observed, page: bytes, version: str, api_key: str | None
    ) -> None:
        self._desk = desk
        self._observed = observed
        self._page = page
        self._version = version
        self._api_key = api_key
        self._num_streams = 0

    def starlette(self) -> Starlette:
        simple: dict[str, Callable[[], Response]] = {
            "/": lambda: Response(self._page, media_type="text/html"),
            "/health": lambda: JSONResponse({"status": "ok"}),
            "/healthz": lambda: JSONResponse({"status": "ok"}),
            "/version": lambda: JSONResponse({"version": self._version}),
            "/metrics": lambda: Response(
                self._observed.render(), media_type="text/plain; version=0.0.4"
            ),
            "/openapi.json": lambda: JSONResponse(
                document(self._version, self._api_key is not None)
            ),
        }
        routes = [Route(path, _answering(answer)) for path, answer in simple.items()]
        routes += [
            Route("/readyz", self._ready),
            Route("/v1/models", self._list_models),
            Route("/v1/models/{model_id}", self._show_model),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: _http_error, Refused: _refusal}
        middleware = []
        if self._api_key is not None:
            middleware = [Middleware(ApiKey, self._api_key, {*simple, "/readyz"}, self._unknown)]
        return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)

    def _unknown(self) -> None:
        self._observed.answered("http", "401", 0.0)

    async def _ready(self, _request: Request) -> Response:
        model = self._newest()
        return JSONResponse({"status": "ok", "step": model.step})

    async def _list_models(self, _request: Request) -> Response:
        ids = await run_in_threadpool(self._desk.models.ids)
        return JSONResponse({"object": "list", "data": [_model(*one) for one in ids]})

    async def _show_model(self, request: Request) -> Response:
        model_id = request.path_params["model_id"]
        for known, created in await run_in_threadpool(self._desk.models.ids):
            if known == model_id:
                return JSONResponse(_model(known, created))
        raise no_model(model_id)

    async def _complete(self, request: Request) -> Response:
        began_s = time.monotonic()
        try:
            response = await self._completion(request)
        except Refused as refused:
            self._observed.answered("http", str(refused.status), time.monotonic() - began_s)
            raise
        if not isinstance(response, StreamingResponse):
            self._observed.answered("http", "200", time.monotonic() - began_s)
        return response

    async def _completion(self, request: Request) -> Response:
        body = await _body(request)
        try:
            asked = read_request(body)
            model = await self._model(asked)
            order = completions.order_of(model, asked, secrets.randbits(SEED_BITS))
        except BadRequest as error:
            raise bad(str(error), error.param) from None
        except (EngineError, ValueError) as error:
            raise bad(str(error), "prompt") from None
        pieces: asyncio.Queue[Outcome] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(outcome: Outcome) -> None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(pieces.put_nowait, outcome)

        is_full = asked.stream and self._num_streams >= STREAMS_MAX
        if is_full or not self._desk.submit(order, deliver):
            raise busy()
        envelope = completions.envelope(asked, order, secrets.token_hex(8), int(time.time()))
        if asked.stream:
            self._num_streams += 1
            events = self._stream(asked, order, envelope, pieces)
            return Events(taken(events), lambda: self._end(order))
        try:
            return JSONResponse(envelope | await _whole(request, asked, order, pieces))
        finally:
            self._desk.cancel(order)  # who has gone away need not be drawn for

    async def _stream(
        self,
        asked: CompletionRequest,
        order: Order,
        envelope: dict[str, Any],
        pieces: "asyncio.Queue[Outcome]",
    ) -> AsyncIterator[str]:
        began_s = time.monotonic()
        extra = {"usage": None} if asked.include_usage else {}
        shown: dict[int, int] = {}  # scores of each choice so far: where the next one stands
        tokens = ended = 0
        while ended < order.choices:
            outcome = await pieces.get()
            if isinstance(outcome, ModelDiverged):
                yield event(unavailable(str(outcome)).body)
                return
            for piece in outcome:
                is_first = piece.choice not in shown
                offset = shown.get(piece.choice, _offset(asked, order, piece))
                shown[piece.choice] = offset + len(piece.scores)
                choice = completions.choice_of(asked, order, piece, offset, is_first)
                tokens += piece.tokens
                ended += bool(piece.finish_reason)
                yield event({**envelope, "choices": [choice], **extra})
        if asked.include_usage:
            usage = completions.usage(order, tokens)
            yield event({**envelope, "choices": [], "usage": usage})
        yield END
        self._observed.answered("http", "200", time.monotonic() - began_s)

    def _end(self, order: Order) -> None:
        self._num_streams -= 1
        self._desk.cancel(order)

    async def _model(self, asked: CompletionRequest) -> ServedModel:
        newest = self._newest()
        if asked.model is None:
            return newest
        model = await run_in_threadpool(self._desk.models.find, asked.model)
        if model is None:
            raise no_model(asked.model)
        return model

    def _newest(self) -> ServedModel:
        if self._desk.is_draining:
            raise unavailable(STOPPING)
        model = self._desk.models.newest
        if model is None:
            raise unavailable(NOT_READY)
        return model


async def _whole(
    request: Request,
    asked: CompletionRequest,
    order: Order,
    pieces: "asyncio.Queue[Outcome]",
) -> dict[str, Any]:
    """Wait for every choice; give the body's choices and usage."""
    found: list[Piece] = []
    while len(found) < order.choices:
        try:
            outcome = await asyncio.wait_for(pieces.get(), LOOK_S)
        except TimeoutError:
            if await request.is_disconnected():
                raise gone() from None
            continue
        if isinstance(outcome, ModelDiverged):
            raise unavailable(str(outcome))
        found += outcome
    found.sort(key=lambda piece: piece.choice)
    choices = [
        completions.choice_of(asked, order, piece, _offset(asked, order, piece), is_first=True)
        for piece in found
    ]
    tokens = sum(piece.tokens for piece in found)
    return {"choices": choices, "usage": completions.usage(order, tokens)}


async def _body(request: Request) -> bytes:
    async def read() -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > BODY_BYTES_MAX:
                message = f"expected a body of at most {BODY_BYTES_MAX} bytes, got more"
                raise Refused(413, error_body(message, "invalid_request_error", None, "too_large"))
        return b"".join(chunks)

    try:
        return await asyncio.wait_for(read(), BODY_S)
    except ClientDisconnect:
        raise gone() from None
    except TimeoutError:
        message = f"expected a body within {BODY_S:g} s, got a part of it"
        raise Refused(408, error_body(message, "invalid_request_error", None, "slow")) from None


def _offset(asked: CompletionRequest, order: Order, piece: Piece) -> int:
    """Say where the first scored token of a choice stands in its text."""
    is_after_prompt = asked.echo and not order.settings.scores_prompt
    return len(order.prompt(piece.choice)) if is_after_prompt else 0


def _model(model_id: str, created: int) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": created, "owned_by": "gradflock"}


def _answering(answer: Callable[[], Response]) -> Callable[[Request], Response]:
    return lambda _request: answer()


def _refusal(_request: Request, refused: Refused) -> Response:
    headers = {"Retry-After": RETRY_S} if refused.status in (429, 503) else {}
    return JSONResponse(refused.body, refused.status, headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    message = f"expected a path and method of this server, got {request.method} on that path"
    body = error_body(message, "invalid_request_error", None, None)
    return JSONResponse(body, error.status_code, error.headers)
