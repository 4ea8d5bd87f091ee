"""Many workers in one process that compute nothing: each task is answered at once.

They join as workers do, each over a socket of its own: HELLO, the fingerprint of this machine's
arithmetic, READY. What they answer is a gradient of the right length that is always the same. Of a
task they read the header, and no digest, so that little of a step's time is theirs.
"""

import os
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import zmq

from benchmarks.made_up import made_up
from cli.kernels import make_engine
from engine.config import WorkConfig
from engine.fingerprint import fingerprint
from engine.params import to_bytes
from wire.codec import HEADER_BYTES_MAX, decode, encode, unpack_map
from wire.messages import PROTOCOL_VERSION, Grad, Hello, Message, Pong, Ready, Welcome

JOIN_MS = 60_000  # for an answer to HELLO
SILENCE_MS = 30_000  # without a task for anybody: the coordinator is not well
GRADIENT = 1e-3  # each value of every answer
IGNORED = ("RESULT", "CANCEL", "PONG")
SAME = ("run", "gen", "sid", "step", "lo", "hi", "lease", "params_digest")  # in TASK and GRAD


class IdleWorkers:
    """A swarm that has joined a run.

    Attributes:
        step: the newest of which a task came, counted from 0.
        messages: received and sent since READY.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: str, count: int) -> None:
        """Connect and say READY for all of them, when all have been welcomed."""
        self.step = 0
        self.messages = 0
        self._poller = zmq.Poller()
        self._working = set()
        sockets = [_connected(context, address) for _ in range(count)]
        for number, socket in enumerate(sockets):
            name = f"idle-{number:04d}"
            hello = Hello(PROTOCOL_VERSION, name, "localhost", os.getpid(), "a benchmark")
            socket.send_multipart(encode(hello))
        welcomes = [_welcome(socket) for socket in sockets]
        work = WorkConfig.from_json(welcomes[0].config)
        engine = make_engine(work.engine, work.model, lambda _: None)
        digest = fingerprint(engine, work.model)
        self._grad_sum = to_bytes(array("d", [GRADIENT]) * work.model.num_params)
        for socket, welcome in zip(sockets, welcomes, strict=True):
            session = {"run": welcome.run, "gen": welcome.gen, "sid": welcome.sid}
            ready = partial(made_up, Ready, params_digest="", document_s=1e-4, **session)
            socket.send_multipart(encode(ready(config_hash=work.digest, fingerprint=digest)))
            self._poller.register(socket, zmq.POLLIN)
            self._working.add(socket)

    def work(self, observe: Callable[[], None]) -> None:
        """Answer until the run is done.

        Args:
            observe: called often, when the tasks that had arrived are answered.
        """
        while self._working:
            ready = self._poller.poll(SILENCE_MS)
            if not ready:
                raise SystemExit(f"expected tasks, got none for {SILENCE_MS / 1000:g} s")
            for socket, _ in ready:
                for header in _headers(socket):
                    self._answer(socket, header)
            observe()

    def _answer(self, socket: "zmq.Socket[bytes]", header: dict[str, Any]) -> None:
        self.messages += 1
        answer: Message
        match header["type"]:
            case "TASK":
                self.step = max(self.step, header["step"])
                known = {name: header[name] for name in SAME}
                answer = made_up(Grad, **known, loss_sum=1.0, payload=self._grad_sum)
            case "PING":
                known = {name: header[name] for name in ("run", "gen", "sid", "t")}
                answer = Pong(**known)
            case "BYE":
                self._poller.unregister(socket)
                self._working.discard(socket)
                socket.close(linger=0)
                return
            case kind if kind in IGNORED:
                return
            case kind:
                raise SystemExit(f"expected tasks, got {kind}: {header}")
        self.messages += 1
        socket.send_multipart(encode(answer))


def _connected(context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.DEALER)
    socket.connect(address)
    return socket


def _welcome(socket: "zmq.Socket[bytes]") -> Welcome:
    if not socket.poll(JOIN_MS):
        raise SystemExit(f"expected a WELCOME, got nothing for {JOIN_MS / 1000:g} s")
    message = decode(socket.recv_multipart())
    if not isinstance(message, Welcome):
        raise SystemExit(f"expected a WELCOME, got {message}")
    return message


def _headers(socket: "zmq.Socket[bytes]") -> Iterator[dict[str, Any]]:
    """Give the header of every message that has arrived."""
    while not socket.closed:
        try:
            _, header, *_ = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        yield unpack_map(header, HEADER_BYTES_MAX)
