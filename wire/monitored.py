"""A ZeroMQ socket with limits, whose connections are watched: what both ends of ours are made of.

Options follow what was measured with libzmq 4.3.5: without a size limit one frame may fill the
memory, and its heartbeats can abort a process.

Source: libzmq's zmq_setsockopt(3) and zmq_socket_monitor(3).
"""

import socket
from typing import Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from wire.security import ZAP_DOMAIN

RECEIVE_MESSAGES = 16  # waiting from one peer; bounds what a flood can make us hold
SEND_MESSAGES = 64  # waiting for one peer; one this far behind is as good as gone
KEEPALIVE_S = (30, 10, 3)  # idle time, then this often, so many times: frees what is unplugged
HANDSHAKE_MS = 2000  # frees the descriptor of a client that connects and says nothing
GOODBYE_MS = 500  # how long a close may wait for the last messages to leave


class MonitoredSocket:
    """A socket, its monitor, and whatever else may end its wait."""

    def __init__(self, kind: int, frame_bytes_max: int) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(kind)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.MAXMSGSIZE, frame_bytes_max)
        self._socket.set(zmq.RCVHWM, RECEIVE_MESSAGES)
        self._socket.set(zmq.SNDHWM, SEND_MESSAGES)
        self._socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        # No ZMTP heartbeats: one that meets a connection which was reset while more than RCVHWM of
        # its messages waited aborts the process (libzmq 4.3.5, stream_engine_base.cpp:310). Our own
        # PING and PONG notice a stopped peer, TCP an unplugged one.
        idle_s, interval_s, count = KEEPALIVE_S
        self._socket.set(zmq.TCP_KEEPALIVE, 1)
        self._socket.set(zmq.TCP_KEEPALIVE_IDLE, idle_s)
        self._socket.set(zmq.TCP_KEEPALIVE_INTVL, interval_s)
        self._socket.set(zmq.TCP_KEEPALIVE_CNT, count)
        # With a ZAP domain set, bytes that are not ZMTP 3 are not taken for messages.
        self._socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        self._monitor = self._socket.get_monitor_socket()
        self._poller = zmq.Poller()  # made once: to register costs more than to poll
        self._watch(self._socket)
        self._watch(self._monitor)
        self._ready: list[object] = []  # what has ended the last wait

    def wait(self, timeout_s: float) -> None:
        """Return when something has arrived, or after timeout_s seconds."""
        self._ready = [one for one, _ in self._poller.poll(int(timeout_s * 1000))]

    def _watch(self, one: "socket.socket | zmq.Socket[bytes]") -> None:
        """Let it end the wait, too."""
        self._poller.register(one, zmq.POLLIN)

    def close(self, linger_ms: int = GOODBYE_MS) -> None:
        """Close, giving messages already sent a moment to leave."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _monitor_events(self) -> list[dict[str, Any]]:
        events = []
        while int(self._monitor.get(zmq.EVENTS)) & zmq.POLLIN:
            events.append(dict(recv_monitor_message(self._monitor)))
        return events
