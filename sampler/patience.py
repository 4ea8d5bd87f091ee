"""HTTP connections that are not kept waiting for, however slowly somebody writes.

uvicorn's own timeout runs after a response and ends with the next byte; it has none for a client
that connects and says nothing, or one letter a minute.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_S = 30.0  # from connecting, or from the last response, to the whole head of a request


class PatientProtocol(H11Protocol):
    """A connection that is closed when no request came within IDLE_S.

    So is one that a response was cut short on, or whose reader does not take the rest of it.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(IDLE_S, self._give_up)

    def _give_up(self) -> None:
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or self.transport.is_closing():
            self.transport.abort()  # to close would wait for a reader to take what is left
        else:
            self._wait()
