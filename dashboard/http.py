"""The dashboard's HTTP door: the page, its stream of events, and what scripts and Prometheus ask.

It has a thread and an event loop of its own. What there is to see, the dashboard's loop finds out;
the door is told when there is more.
"""

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboard.observed import render
from dashboard.view import View, difference, everything
from sampler.streaming import Events, event, taken
from sampler.web_server import WebServer
from wire.address import is_loopback

STREAMS_MAX = 32  # pages that are open; each holds one view and what the system has untaken
QUIET_S = (
    5.0  # without news, from when on a reader is sent a sign of life, which finds out who left
)
RETRY_S = "2"


class Desk(Protocol):
    """What the door shows, and where it says that somebody looks."""

    @property
    def view(self) -> View: ...

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def fresh(self) -> View: ...


class HttpDoor:
    """The server of one dashboard.

    Attributes:
        address: where people find it, the port filled in if 0 was asked for.
    """

    def __init__(self, desk: Desk, host: str, port: int, page: bytes, version: str) -> None:
        """Bind, and begin to answer.

        Raises:
            AddressInUse: another process has the address.
            TransportError: it is none of this machine's.
        """
        self._app = App(desk, page, version, _names_of(host))
        self._server = WebServer(self._app.starlette(), host, port)
        self.address = self._server.address

    def tell(self) -> None:
        """Send news to every page; for any thread."""
        self._app.tell()

    def drain(self) -> None:
        """Accept no more connections, and end the streams."""
        self._app.stop()
        self._server.drain()

    def join(self, timeout_s: float) -> bool:
        """Wait so long for the requests under way; say whether all are answered."""
        return self._server.join(timeout_s)


class App:
    """The routes, and what each answers."""

    def __init__(self, desk: Desk, page: bytes, version: str, hosts: Sequence[str]) -> None:
        """Make them.

        Args:
            hosts: by which names they may be asked for; any if there are none.
        """
        self._hosts = hosts
        self._desk = desk
        self._page = page
        self._policy = policy_of(page)
        self._version = version
        self._loop: asyncio.AbstractEventLoop | None = None  # known once a page has come
        self._bells: set[asyncio.Event] = set()  # one for each stream
        self._is_stopping = False

    def starlette(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._show_page),
                Route("/events", self._events),
                Route("/api/state", self._state),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=self._hosts or ["*"])],
        )

    def tell(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._ring)

    def stop(self) -> None:
        self._is_stopping = True
        self.tell()

    async def _show_page(self, _request: Request) -> Response:
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "no-referrer"}
        return Response(self._page, media_type="text/html", headers=headers)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _state(self, _request: Request) -> Response:
        view = await run_in_threadpool(self._desk.fresh)
        return JSONResponse(everything(view), headers={"Cache-Control": "no-cache"})

    async def _metrics(self, _request: Request) -> Response:
        view = await run_in_threadpool(self._desk.fresh)
        return Response(render(view, self._version), media_type="text/plain; version=0.0.4")

    async def _events(self, _request: Request) -> Response:
        if len(self._bells) >= STREAMS_MAX or self._is_stopping:
            message = f"expected at most {STREAMS_MAX} open pages, got one more; close another"
            return JSONResponse({"error": message}, 503, {"Retry-After": RETRY_S})
        self._loop = asyncio.get_running_loop()
        bell = asyncio.Event()
        self._bells.add(bell)
        self._desk.opened()
        return Events(taken(self._news(bell)), lambda: self._end(bell))

    async def _news(self, bell: asyncio.Event) -> AsyncIterator[str]:
        view = self._desk.view
        yield event({"kind": "everything", **everything(view)})
        while not self._is_stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), QUIET_S)
            bell.clear()
            before, view = view, self._desk.view
            changed = difference(before, view)
            yield event({"kind": "news", **changed}) if changed else ": nothing new\n\n"

    def _end(self, bell: asyncio.Event) -> None:
        self._bells.discard(bell)
        self._desk.closed()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()


def policy_of(page: bytes) -> str:
    """Allow the page its own script and style, by their hashes, and to ask its own server."""
    hashes = {}
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        found = [b64encode(hashlib.sha256(text).digest()).decode() for text in inline]
        hashes[tag] = " ".join(f"'sha256-{one}'" for one in found)
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


def _names_of(host: str) -> Sequence[str]:
    """Give the names of this machine by which a page on loopback may be asked for.

    A page elsewhere could give its own name the address of this machine, and then read what is here
    as if it were its own; the browser tells by which name it asks.
    """
    shown = f"[{host}]" if ":" in host else host
    if not is_loopback(f"tcp://{shown}:0"):
        return ()
    return ("localhost", "127.0.0.1", "[::1]")
