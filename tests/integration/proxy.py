"""A bad network of the tests' own: a TCP proxy between workers and their coordinator.

It delays, cuts, swallows and damages what it forwards, each direction by itself, and counts what it
did: a trial that injected nothing has shown nothing. It knows no protocol; only the length of
ZMTP's greeting, so that a trial can say whether it damages the handshake or what comes after.

Prior art: Shopify's toxiproxy (toxics per direction), Jepsen's nemesis.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

UP, DOWN = "worker to coordinator", "coordinator to worker"
HANDSHAKE_BYTES = 64 + 44  # ZMTP 3's greeting, and READY with the type of the socket
CHUNK_BYTES = 65536
CONTROL_S = 10.0  # for the loop to do what it is told
RST = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close tells the other end that all is lost

T = TypeVar("T")


@dataclass(eq=False)
class _Link:
    """One worker's connection and ours to the coordinator on its behalf."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    sent_bytes: Counter[str] = field(default_factory=Counter)
    flip_at: dict[str, int] = field(default_factory=dict)
    recorded: dict[str, bytearray] = field(
        default_factory=lambda: {UP: bytearray(), DOWN: bytearray()}
    )

    def close(self, *, is_abrupt: bool) -> None:
        for writer in (self.near, self.far):
            if is_abrupt:
                raw = writer.get_extra_info("socket")
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Listens on a port of its own and forwards to one address, in a thread of its own.

    Attributes:
        address: where workers connect to.
        accepted: how many connections there have been.
        recorded: what has gone through each connection, by direction, as it left us.
        injected: how many delays, cuts, flips and swallowed connections there have been, by name.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._rng = random.Random(seed)
        self._links: list[_Link] = []
        self._delay_s = {UP: (0.0, 0.0), DOWN: (0.0, 0.0)}
        self._flip_bytes_mean = 0.0
        self._flips_left = 0
        self._handshake_flips_left = 0
        self.accepted = 0
        self.injected: Counter[str] = Counter()
        self.recorded: list[dict[str, bytearray]] = []
        self._loop = asyncio.new_event_loop()
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        for is_open in self._open.values():
            is_open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # ---- what a trial asks for ---------------------------------------------------------------

    def delay(self, least_s: float, most_s: float) -> None:
        """Hold every piece of data for a time between these, in order, both ways."""
        self._do(self._set_delay((least_s, most_s)))

    def cut(self, *, is_abrupt: bool, most: int | None = None) -> int:
        """End connections, all or so many: with RST if that is abrupt, else with FIN.

        Returns:
            How many there were to end.
        """
        return self._do(self._cut(is_abrupt, most))

    def swallow(self, *directions: str) -> None:
        """Forward nothing more in these directions; connections are accepted and stay."""
        self._do(self._set_open(directions, is_open=False))

    def heal(self) -> None:
        """Forward all again, what was swallowed first, as TCP would send it again."""
        self._do(self._set_open((UP, DOWN), is_open=True))

    def flip(self, count: int, bytes_mean: float) -> None:
        """Flip so many single bits, after the handshakes, so far apart in the mean."""
        self._do(self._set_flips(count, bytes_mean))

    def flip_handshake(self) -> None:
        """Flip a bit within the handshake of the next connection, one way or the other."""
        self._do(self._set_handshake_flip())

    # ---- in the loop -------------------------------------------------------------------------

    async def _set_delay(self, between_s: tuple[float, float]) -> None:
        self._delay_s = {UP: between_s, DOWN: between_s}

    async def _cut(self, is_abrupt: bool, most: int | None) -> int:
        links = self._rng.sample(self._links, len(self._links))[:most]
        for link in links:
            link.close(is_abrupt=is_abrupt)
            self._links.remove(link)
            self.injected["cut"] += 1
        return len(links)

    async def _set_open(self, directions: tuple[str, ...], is_open: bool) -> None:
        for direction in directions:
            if is_open:
                self._open[direction].set()
            else:
                self._open[direction].clear()

    async def _set_flips(self, count: int, bytes_mean: float) -> None:
        self._flips_left, self._flip_bytes_mean = count, bytes_mean
        for link in self._links:
            self._plan_flips(link)

    async def _set_handshake_flip(self) -> None:
        self._handshake_flips_left += 1

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._keep_until_done(asyncio.current_task())
        writers = [near]
        # The coordinator may not be there: neither are we, then. A cancellation is our own end.
        with suppress(OSError, asyncio.CancelledError):
            await self._open[UP].wait()
            far_reader, far = await asyncio.open_connection(*self._target)
            writers.append(far)
            link = self._link(near, far)
            up = self._pump(link, UP, reader, far)
            await asyncio.gather(up, self._pump(link, DOWN, far_reader, near))
        self._links = [link for link in self._links if link.near is not near]
        for writer in writers:
            writer.transport.abort()
        closed = (writer.wait_closed() for writer in writers)
        await asyncio.gather(*closed, return_exceptions=True)

    def _keep_until_done(self, task: "asyncio.Task[None] | None") -> None:
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _link(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> _Link:
        link = _Link(near, far)
        self.recorded.append(link.recorded)
        self._links.append(link)
        self._plan_flips(link)
        if self._handshake_flips_left:
            self._handshake_flips_left -= 1
            link.flip_at[self._rng.choice((UP, DOWN))] = self._rng.randrange(HANDSHAKE_BYTES)
        return link

    async def _pump(
        self,
        link: _Link,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self._delay_s[direction][1]:
                    self.injected["delay"] += 1
                    await asyncio.sleep(self._rng.uniform(*self._delay_s[direction]))
                await self._wait_until_open(direction)
                sent = self._flipped(link, direction, data)
                link.recorded[direction] += sent
                writer.write(sent)
                await writer.drain()
            await self._wait_until_open(direction)
            writer.write_eof()
        except OSError:  # one end is gone: so is the other, once that news can reach it
            await self._wait_until_open(direction)
            link.close(is_abrupt=True)

    async def _wait_until_open(self, direction: str) -> None:
        if not self._open[direction].is_set():
            self.injected[f"swallowed, {direction}"] += 1
            await self._open[direction].wait()

    # ---- bits --------------------------------------------------------------------------------

    def _plan_flips(self, link: _Link) -> None:
        if self._flips_left:
            for direction in (UP, DOWN):
                gap_bytes = int(self._rng.expovariate(1 / self._flip_bytes_mean))
                begin = max(link.sent_bytes[direction], HANDSHAKE_BYTES)
                link.flip_at[direction] = begin + gap_bytes

    def _flipped(self, link: _Link, direction: str, data: bytes) -> bytes:
        """Give the data with at most one bit changed."""
        begin = link.sent_bytes[direction]
        link.sent_bytes[direction] += len(data)
        at = link.flip_at.get(direction, -1) - begin
        if not 0 <= at < len(data):
            return data
        del link.flip_at[direction]
        if begin + at < HANDSHAKE_BYTES:
            self.injected[f"flip in the handshake, {direction}"] += 1
        elif self._flips_left:
            self._flips_left -= 1
            self.injected[f"flip, {direction}"] += 1
            self._plan_flips(link)
        else:
            return data
        changed = bytearray(data)
        changed[at] ^= 1 << self._rng.randrange(8)
        return bytes(changed)

    # ---- the thread --------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_S)
        self._loop.close()
