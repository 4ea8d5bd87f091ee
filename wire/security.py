"""CURVE on sockets: keys set, peers judged, and what failed handshakes say about either end.

Without a ZAP handler libzmq lets every CURVE key in; with the domain enforced and the handler gone
it lets in none. So the handler is bound before the socket, and each key is looked up.

Source: ZeroMQ RFC 26 (CurveZMQ), RFC 27 (ZAP); libzmq's zmq_curve(7) and zmq_socket_monitor(3).
"""

import errno
import struct

import zmq
from zmq.utils import z85

from wire.errors import KeysError
from wire.keys import Allowlist, ClientKey, ServerKey

ZAP_ADDRESS = "inproc://zeromq.zap.01"  # RFC 27 names it; each context has one
ZAP_DOMAIN = b"gradflock"
ZAP_VERSION = b"1.0"
ADMITTED, REFUSED = b"200", b"400"
JUDGED_PER_TURN = 64  # so that a crowd at the door cannot keep the work from being done

FAILURES = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_AUTH,
)
_MISMATCH = int(zmq.Event.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_CRYPTOGRAPHIC = int(zmq.Event.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET)  # any other number is left from something before
# libzmq ends these connections at the first byte that does not fit, and says no more about them.
NO_ZMTP = "speaks no ZMTP 3, or has another kind of socket"
_NO_KEYS = "has no CURVE keys, which are wanted here: give it --key FILE"
_WANTS_KEYS = "wants CURVE keys: add --key FILE, which gradflock keys new makes where it runs"
_IS_PLAIN = "uses no CURVE keys: start it with --keys, or this without --key"


def libzmq() -> tuple[str, bool]:
    """Give the version of libzmq, and whether it has CURVE."""
    return zmq.zmq_version(), zmq.has("curve")


def new_server_key() -> ServerKey:
    public, secret = zmq.curve_keypair()
    return ServerKey(public.decode(), secret.decode())


def new_client_key(name: str, server: str) -> ClientKey:
    """Make a key pair for a peer of the server that has this public key."""
    public, secret = zmq.curve_keypair()
    return ClientKey(name, public.decode(), server, secret.decode())


def check_pair(key: ServerKey | ClientKey, where: str) -> None:
    """Make sure that keys are numbers of 256 bits, the public one that of the secret beside it.

    Raises:
        KeysError: they are not.
    """
    wrong = ""
    try:
        z85.decode(key.server if isinstance(key, ClientKey) else key.public)
        if zmq.curve_public(key.secret.encode()).decode() != key.public:
            wrong = "a public key that is not that of the secret beside it"
    except (zmq.ZMQError, struct.error):
        wrong = "one of more than 256 bits"
    if wrong:
        raise KeysError(
            f"expected keys of 256 bits that belong together, got {wrong} — {where};"
            " copy the file again, or make a new one: gradflock keys new"
        )


def secure_client(socket: "zmq.Socket[bytes]", key: ClientKey) -> None:
    """Have a socket that will connect prove who it is, and be sure who answers."""
    socket.set(zmq.CURVE_PUBLICKEY, key.public.encode())
    socket.set(zmq.CURVE_SECRETKEY, key.secret.encode())
    socket.set(zmq.CURVE_SERVERKEY, key.server.encode())


class Guard:
    """Stands at one bound socket, and lets in whom the allowlist has.

    Attributes:
        allowlist: the one that counts from now on, for those who come.
        inbox: the socket on which libzmq asks; readable when there is somebody to judge.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        socket: "zmq.Socket[bytes]",
        key: ServerKey,
        allowlist: Allowlist,
    ) -> None:
        """Take the post; the socket may be bound after this, and not before."""
        self.allowlist = allowlist
        self.inbox: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.inbox.set(zmq.LINGER, 0)
        self.inbox.bind(ZAP_ADDRESS)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, key.secret.encode())
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def judge(self) -> list[tuple[str, str]]:
        """Answer for all who stand at the door; give address and objection of each refused."""
        refused: list[tuple[str, str]] = []
        for _ in range(JUDGED_PER_TURN):
            try:
                version, request, domain, address, _, mechanism, *credentials = (
                    self.inbox.recv_multipart(zmq.NOBLOCK)
                )
            except zmq.Again:
                break
            key = objection = ""
            if (version, domain, mechanism) != (ZAP_VERSION, ZAP_DOMAIN, b"CURVE"):
                objection = _NO_KEYS
            else:
                key = z85.encode(credentials[0]).decode()
                objection = self.allowlist.objection(key)
            if objection:
                refused.append((address.decode(errors="replace"), objection))
            status, user = (REFUSED, b"") if objection else (ADMITTED, key.encode())
            self.inbox.send_multipart([ZAP_VERSION, request, status, b"", user, b""])
        return refused

    def close(self) -> None:
        self.inbox.close()


def wrong_with_client(event: int, value: int, *, has_keys: bool) -> str:
    """Say what a peer did wrong that connected to us, and whose handshake failed.

    What it is called comes before. Whom ZAP refused, and why, the guard has said.

    Args:
        has_keys: our end uses CURVE.
    """
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == _MISMATCH:
        return (
            _NO_KEYS if has_keys else "uses CURVE keys, and this socket is plain: leave --key out"
        )
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == _CRYPTOGRAPHIC:
        return "has the key of another server, or repeats what was recorded: make its key file anew"
    return _what_broke_off(event, value, "have no CURVE keys" if has_keys else "want CURVE keys")


def wrong_with_server(event: int, value: int, *, has_keys: bool) -> str:
    """Say what is wrong with what we have connected to, where the handshake failed."""
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return "refused this key, as one that was revoked or never listed: make one there anew"
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == _MISMATCH:
        return _IS_PLAIN if has_keys else _WANTS_KEYS
    if has_keys:
        return _what_broke_off(event, value, "have other keys than this key file says, none,")
    return _what_broke_off(event, value, "want CURVE keys")


def _what_broke_off(event: int, value: int, may: str) -> str:
    if event != zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
        return "breaks ZMTP's rules in the handshake"
    if value in _HUNG_UP:  # perhaps because it saw first that the two ends do not fit
        return f"hung up during the handshake; it may {may} or another kind of socket"
    return "fell silent during the handshake"
