"""Keeps the allowlist of a bound socket as its directory of keys has it, while it is used."""

from collections.abc import Callable
from pathlib import Path

from wire.errors import KeysError
from wire.keyring import Keyring
from wire.keys import Allowlist, ServerKey
from wire.transport import Listener

LOOK_S = 0.25  # how often the directory is looked at; a revoked peer is cut a look later


class Doorkeeper:
    """Reads the list again when it has changed.

    Attributes:
        security: what a Listener takes.
    """

    def __init__(self, directory: Path, observe: Callable[[str], None]) -> None:
        """Read the server's key and the list.

        Args:
            observe: told every line that a person may want to read.

        Raises:
            KeysError: there is no key, or it cannot be used.
        """
        self._keyring = Keyring(directory)
        self._observe = observe
        self._looked_s = float("-inf")
        self._told = ""
        self._leaving: list[bytes] = []
        key = self._keyring.server_key()
        self._stamp = self._keyring.stamp()  # before it is read: what changes meanwhile is seen
        self.security: tuple[ServerKey, Allowlist] = (key, self._read())

    def look(self, listener: Listener, now: float) -> list[tuple[bytes, str]]:
        """Let in whom the directory lists now, and cut who was shown out at the last look.

        Returns:
            Peers to be shown out, with the names of their keys: they can be told something yet.
        """
        if now - self._looked_s < LOOK_S:
            return []
        self._looked_s = now
        for peer in self._leaving:
            listener.cut(peer)
        self._leaving = []
        try:
            stamp = self._keyring.stamp()
            if stamp == self._stamp:
                return []
            allowlist, self._stamp = self._read(), stamp
        except (OSError, KeysError) as error:  # the list that is known counts on
            self._tell(f"expected to read the allowlist, got {error}; the last one counts")
            return []
        self._told = ""
        unwelcome = listener.allow(allowlist)
        self._leaving = [peer for peer, _ in unwelcome]
        return unwelcome

    def _read(self) -> Allowlist:
        allowlist = self._keyring.allowlist()
        for complaint in self._keyring.complaints:
            self._observe(f"passed over a key: {complaint}")
        return allowlist

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._observe(text)
