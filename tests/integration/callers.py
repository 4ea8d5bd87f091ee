"""Whoever connects to a door of ours from outside: sockets that are closed in the end."""

import os
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeAlias

import zmq

ANSWER_MS = 20_000

ZmqSocket: TypeAlias = "zmq.Socket[bytes]"


class Callers:
    """Opens sockets to one address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._context = zmq.Context()
        self._open = ExitStack()

    def dealer(self) -> ZmqSocket:
        return self._connect(zmq.DEALER)

    def req(self) -> ZmqSocket:
        return self._connect(zmq.REQ)

    def tcp(self) -> socket.socket:
        """Connect without any protocol on top."""
        host, port = self.address.removeprefix("tcp://").split(":")
        return self._open.enter_context(socket.create_connection((host, int(port))))

    def send_bytes_that_are_not_zmtp(self) -> None:
        """What port scanners, browsers and broken clients send."""
        zmtp_greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL"
        for data in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            os.urandom(3000),
            b"\xff" * 64,
            bytes(1000),
            zmtp_greeting,
            zmtp_greeting.ljust(64, b"\0") + os.urandom(3000),
        ):
            self.tcp().sendall(data)

    def _connect(self, kind: int) -> ZmqSocket:
        client = self._context.socket(kind)
        client.set(zmq.RCVTIMEO, ANSWER_MS)
        client.connect(self.address)
        self._open.callback(client.close, linger=500)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()
        self._context.term()
