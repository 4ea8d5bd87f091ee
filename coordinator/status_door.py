"""The second socket of a coordinator: it says how the run stands to whoever asks on this machine.

It is apart from the training socket, so that no member's message can be mistaken for a question,
and only this machine can reach it, since it tells names and hosts. A question is one frame, STATUS
or TIMELINE, with an empty one before it from REQ sockets; whatever else comes is dropped.
"""

from collections.abc import Callable, Mapping

from coordinator.errors import StatusNotLocal
from wire.address import check_address, is_loopback
from wire.transport import Listener

ANY_PORT = "tcp://127.0.0.1:0"
STATUS = b"STATUS"  # see coordinator.status
TIMELINE = b"TIMELINE"  # see coordinator.picture
FRAMES_MAX = 2
FRAME_BYTES_MAX = 1024
REQUESTS_PER_TURN = 16  # so that whoever asks without end cannot keep the run from going on


class StatusDoor:
    """A socket that answers questions.

    Attributes:
        address: where it really listens.
    """

    def __init__(self, address: str = ANY_PORT) -> None:
        """Bind.

        Raises:
            StatusNotLocal: others than this machine could reach the address.
            AddressInUse, TransportError: the address cannot be bound.
        """
        if not is_loopback(check_address(address)):
            raise StatusNotLocal(
                f"expected an address of this machine alone, got {address}"
                f" — status; it tells names and hosts: take {ANY_PORT}"
            )
        self._listener = Listener(address, FRAME_BYTES_MAX)
        self.address = self._listener.address

    def answer(self, answers: Mapping[bytes, Callable[[], bytes]]) -> None:
        """Answer those who have asked since the last turn.

        Args:
            answers: question -> what makes the answer, once for all who ask.
        """
        self._listener.departed()
        self._listener.strangers()
        made: dict[bytes, bytes] = {}
        for _ in range(REQUESTS_PER_TURN):
            received = self._listener.receive()
            if received is None:
                return
            peer, frames = received
            if len(frames) <= FRAMES_MAX and (question := frames[-1]) in answers:
                if question not in made:
                    made[question] = answers[question]()
                self._listener.send(peer, [*frames[:-1], made[question]])

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> "StatusDoor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
