"""What can go wrong between two processes, split by whose fault it is.

WireError
├── MalformedFrame    the peer's bytes are not a message
│   ├── DigestMismatch    they were changed on the way
│   └── PayloadMismatch   a payload is not as long as its header says
├── VersionMismatch   the peer speaks another version of the protocol
├── TransportError    an address cannot be used here
│   └── AddressInUse      somebody else has it
└── KeysError         keys cannot be used
"""


class WireError(Exception):
    """The base of every error that the wire raises on purpose."""


class MalformedFrame(WireError):
    """Raised when bytes from a peer are not a message of this protocol."""


class DigestMismatch(MalformedFrame):
    """Raised when a message's digest is not that of its bytes."""


class PayloadMismatch(MalformedFrame):
    """Raised when a payload does not have the length that its header and the config imply."""


class VersionMismatch(WireError):
    """Raised when a HELLO carries another protocol version.

    Attributes:
        version: the version the peer speaks.
    """

    def __init__(self, version: int, ours: int) -> None:
        self.version = version
        super().__init__(
            f"expected protocol version {ours}, got {version}"
            " — hello; run the same version of gradflock everywhere"
        )


class TransportError(WireError):
    """Raised when an address cannot be bound or connected to."""


class AddressInUse(TransportError):
    """Raised when another process has bound an address.

    Attributes:
        address: the address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"expected a free address, got {address} which another process has bound"
            " — stop that process, or choose another with --bind (train: --sampler-bind; HTTP:"
            " --http)"
        )


class KeysError(WireError):
    """Raised when keys cannot be used: they are damaged, missing, or others can read them."""
