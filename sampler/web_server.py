"""An HTTP server in a thread of its own: limits for all who connect, and an orderly end.

What it answers is an ASGI app of somebody else's.
"""

import errno
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from sampler.patience import IDLE_S, PatientProtocol
from wire.errors import AddressInUse, TransportError

CONNECTIONS_MAX = 512  # half of the files that a process may have open by default
UNTAKEN_BYTES = 64 * 1024  # that the system holds of a reply; connections inherit it


class WebServer:
    """A server of its own thread.

    Attributes:
        address: where people find it, the port filled in if 0 was asked for.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        """Bind, and begin to answer.

        Raises:
            AddressInUse: another process has the address.
            TransportError: it is none of this machine's.
        """
        listener = _bind(host, port)
        self.address = f"http://{_shown(host)}:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=[("X-Content-Type-Options", "nosniff")],
                timeout_keep_alive=int(IDLE_S),
                limit_concurrency=CONNECTIONS_MAX,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="http", daemon=True
        )
        self._thread.start()

    def drain(self) -> None:
        """Accept no more connections; requests under way finish."""
        self._server.should_exit = True

    def join(self, timeout_s: float) -> bool:
        """Wait so long for the requests under way; say whether all are answered."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        # With the protocol named: asyncio sets TCP_NODELAY only then, without it each answer waits
        # 40 ms for the client's acknowledgement of its head.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNTAKEN_BYTES)
        listener.bind(where)
        listener.listen()  # whoever is told the address may connect at once
    except OSError as error:
        shown = f"{_shown(host)}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(shown) from None
        raise TransportError(
            f"expected an address of this machine, got {shown!r} ({error.strerror or error})"
            " — HTTP; give one of its own, or 127.0.0.1"
        ) from None
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
