"""The sampler's loop: it draws for whoever has asked, through either door, from one place.

The ZeroMQ socket is read here. The HTTP door has a thread of its own, hands orders over, and is
told what was drawn for them.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from sampler.model import ModelDiverged
from sampler.models import Models
from sampler.observed import Observed
from sampler.order import Order, Piece
from sampler.sampling import Sampling
from sampler.socket_door import SocketDoor
from wire.doorkeeper import Doorkeeper
from wire.sampling import BUSY, SampleReply
from wire.thinning import Thinning
from wire.transport import Listener

WAIT_S = 0.1  # how long an idle loop waits; bounds how late a stop is noticed
REFRESH_S = 0.1  # how often it looks for a newer checkpoint
OPEN_ORDERS_MAX = 256  # under way through both doors; one more is told to come back
MESSAGES_PER_TURN = 100  # so that a flood cannot keep the work from being done
TOKENS_PER_TURN = 4  # of each document, between two looks at the sockets: those cost as much as one
FRAME_BYTES_MAX = 64 * 1024  # far above a request
REFUSED_SHOWN = 10  # refused requests that get a line each; then only each power of ten
DRAIN_S = 10.0  # how long a stop waits for requests under way

Deliver = Callable[[Sequence[Piece] | ModelDiverged], None]


class Door(Protocol):
    """Another way in, served by a thread of its own."""

    def drain(self) -> None:
        """Take no more; what is under way goes on."""

    def join(self, timeout_s: float) -> bool:
        """Say whether nothing is under way any more; wait for that so long."""


class SamplerService:
    """One sampler process; also what its HTTP door hands orders to, from another thread.

    Attributes:
        models: what can be asked for.
        is_draining: it is about to stop, and takes no more requests.
    """

    def __init__(
        self,
        run_dir: Path,
        bind: str,
        keeper: Doorkeeper | None,
        observe: Callable[[str], None],
        beat: Callable[[float, str], None],
    ) -> None:
        """Make the service; nothing is bound yet.

        Args:
            keeper: of the keys of those who may ask; None opens a plain socket.
            observe: told every line that a person may want to read.
            beat: told often that the loop turns: the monotonic clock, and what is wrong.
        """
        self.models = Models(run_dir)
        self.is_draining = False
        self._bind = bind
        self._keeper = keeper
        self._beat = beat
        self._observe = observe
        self._observed = Observed()
        self._sampling = Sampling()
        self._deliveries: dict[Order, Deliver] = {}  # of orders that came through HTTP
        self._handed: SimpleQueue[tuple[Order, Deliver | None]] = SimpleQueue()  # None: cancelled
        self._wake: Callable[[], None] = lambda: None
        self._refused = self._strangers = 0
        self._stranger_lines = Thinning()
        self._refreshed_s = float("-inf")

    def submit(self, order: Order, deliver: Deliver) -> bool:
        """Take an order, from any thread; False if too many are open."""
        if self._sampling.num_open + self._handed.qsize() >= OPEN_ORDERS_MAX:
            return False
        self._handed.put((order, deliver))
        self._wake()
        return True

    def cancel(self, order: Order) -> None:
        """Give an order up, from any thread."""
        self._handed.put((order, None))
        self._wake()

    def serve(
        self,
        is_stopping: Callable[[], bool],
        on_bound: Callable[[str], None],
        http: Callable[["SamplerService", Observed], Door] | None = None,
    ) -> None:
        """Answer until stopped; then answer what is under way, and no more.

        Args:
            http: makes the HTTP door; None opens none.

        Raises:
            AddressInUse, TransportError: an address cannot be bound.
        """
        security = None if self._keeper is None else self._keeper.security
        with Listener(self._bind, FRAME_BYTES_MAX, security) as listener:
            self._wake = listener.wake
            door = SocketDoor(self.models, listener.send, lambda: secrets.randbits(32))
            self._refresh()
            http_door = None if http is None else http(self, self._observed)
            on_bound(listener.address)
            while not is_stopping():
                self._turn(listener, door)
            self.is_draining = True
            if http_door is not None:
                http_door.drain()
            deadline_s = time.monotonic() + DRAIN_S
            while time.monotonic() < deadline_s and self._is_busy(door, http_door):
                self._turn(listener, door)

    def _is_busy(self, door: SocketDoor, http_door: Door | None) -> bool:
        is_serving = http_door is not None and not http_door.join(0.0)
        return bool(self._sampling.num_open or door.num_open or is_serving)

    def _turn(self, listener: Listener, door: SocketDoor) -> None:
        listener.wait(0.0 if self._sampling.num_open else WAIT_S)
        for order in door.forget(listener.departed()):
            self._sampling.cancel(order)
        now = time.monotonic()
        for stranger in listener.strangers():
            self._strangers += 1
            if self._stranger_lines.has_line(now):
                self._observe(f"refused connection {self._strangers}, {stranger}")
        if self._keeper is not None:
            for _, key_name in self._keeper.look(listener, now):
                self._observe(f"the key {key_name!r} was revoked: its connection is cut")
        self._beat(now, "")
        self._refresh()
        self._read(listener, door)
        self._take_handed()
        for _ in range(TOKENS_PER_TURN):
            if not self._sampling.num_open:
                break
            for order, outcome in self._sampling.advance():
                self._tell(door, order, outcome)
        for call in door.settle(time.monotonic()):
            self._sampling.cancel(call.order)
            self._observed.answered("zeromq", "ok", time.monotonic() - call.began_s)
        self._observed.open_orders(self._sampling.num_open)

    def _tell(
        self, door: SocketDoor, order: Order, outcome: Sequence[Piece] | ModelDiverged
    ) -> None:
        if not isinstance(outcome, ModelDiverged):
            self._observed.drew(
                sum(piece.tokens for piece in outcome),
                sum(bool(piece.finish_reason) for piece in outcome),
            )
        deliver = self._deliveries.get(order)
        if deliver is None:
            door.tell(order, outcome, time.monotonic())
            return
        deliver(outcome)
        if not self._sampling.is_open(order):
            del self._deliveries[order]

    def _take_handed(self) -> None:
        while True:
            try:
                order, deliver = self._handed.get_nowait()
            except Empty:
                return
            if deliver is None:
                self._sampling.cancel(order)
                self._deliveries.pop(order, None)
            else:
                self._deliveries[order] = deliver
                self._sampling.open(order)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = now
        before = self.models.newest
        for complaint in self.models.refresh():
            self._observe(f"passed over a checkpoint: {complaint}")
        model = self.models.newest
        if model is not None and model is not before:
            self._observed.serves(model.step)
            self._observe(f"serving step {model.step}, weights {model.sha256[:12]}")

    def _read(self, listener: Listener, door: SocketDoor) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = listener.receive()
            if received is None:
                return
            peer, frames = received
            if max(self._sampling.num_open, door.num_open) >= OPEN_ORDERS_MAX:
                text = f"expected at most {OPEN_ORDERS_MAX} requests at once; try again"
                result: Order | SampleReply | None = SampleReply(code=BUSY, text=text)
            else:
                result = door.begin(peer, frames, time.monotonic(), self.is_draining)
            if isinstance(result, Order):
                self._sampling.open(result)
            elif result is None:
                self._refuse(f"expected an envelope and a request, got {len(frames)} frames")
            else:
                self._refuse(result.text)
                self._observed.answered("zeromq", result.code, 0.0)
                door.refuse(peer, frames, result)

    def _refuse(self, reason: str) -> None:
        self._refused += 1
        if self._refused <= REFUSED_SHOWN or str(self._refused).strip("0") == "1":
            self._observe(f"refused request {self._refused}: {reason}")
