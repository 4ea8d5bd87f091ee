"""Streams of server-sent events, to readers that may stop reading.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

TAKE_S = 10.0  # how long a reader may take nothing of a stream
END = "data: [DONE]\n\n"


class Events(StreamingResponse):
    """A stream of events; `on_end` is called when it ends, however it ends.

    A generator's own `finally` is not enough: cut short while an event is being sent, it is closed
    only when it is collected.
    """

    def __init__(self, events: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def taken(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass a stream on for as long as somebody takes it.

    The server comes for the next event once the last one was taken.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    async for event in events:
        timer = loop.call_later(TAKE_S, task.cancel)
        try:
            yield event
        finally:
            timer.cancel()


def event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values)}\n\n"
