"""Every message between coordinator and worker, in the order a session sees them.

A session is one worker's stay in one generation of a run. All messages but HELLO and REFUSE carry
`run` (16 random bytes in hex, made once per run), `gen` (how many times the run's coordinator has
started) and `sid` (the session), so that a message of another time is recognised.

The protocol is documented in ARCHITECTURE.md.
"""

from dataclasses import dataclass
from typing import TypeAlias

PROTOCOL_VERSION = 2

# Why a worker is refused.
VERSION, CONFIG, NUMERICS = "VERSION", "CONFIG", "NUMERICS"
GRADIENT, QUARANTINE, KEY = "GRADIENT", "QUARANTINE", "KEY"

# Why a gradient was not counted.
DUPLICATE, STALE, MISMATCH, NONFINITE = "DUPLICATE", "STALE", "MISMATCH", "NONFINITE"

# Why somebody leaves.
DONE, STOPPING = "done", "stopping"


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker: may I? Always answered, by WELCOME or REFUSE."""

    v: int
    name: str  # unique: a stable name and a random part for each process start
    host: str
    pid: int
    versions: str  # of gradflock, Python, numpy; for people


@dataclass(frozen=True, slots=True)
class Welcome:
    """Coordinator: here is what we compute; prepare, then say READY."""

    v: int
    run: str
    gen: int
    sid: int
    config: str  # WorkConfig as canonical JSON
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Coordinator: no, and why. A permanent refusal ends the worker with exit code 78."""

    code: str
    text: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: asks for work; it holds no lease that it could still answer."""

    run: str
    gen: int
    sid: int
    config_hash: str  # WorkConfig.digest as the worker understood it
    fingerprint: str  # digest of probe gradients, see engine.fingerprint
    params_digest: str  # of the parameters the worker holds, empty for none
    document_s: float  # how long its largest portion takes: a document, or a shard if compiled


@dataclass(frozen=True, slots=True)
class Task:
    """Coordinator: one lease, to sum the gradients of a branch's documents."""

    run: str
    gen: int
    sid: int
    step: int
    lo: int
    hi: int
    lease: int
    params_digest: str
    num_documents: int
    payload: bytes = b""  # see wire.payload
    params: bytes = b""  # num_params little-endian float64, where the worker lacks them


@dataclass(frozen=True, slots=True)
class Progress:
    """Worker: the main thread lives; sent between documents, at most once a second."""

    run: str
    gen: int
    sid: int
    lease: int
    documents_done: int


@dataclass(frozen=True, slots=True)
class Grad:
    """Worker: the sum over a branch. Asks for the next task."""

    run: str
    gen: int
    sid: int
    step: int
    lo: int
    hi: int
    lease: int
    params_digest: str
    loss_sum: float
    queued_s: float  # from the arrival of the task until its turn came
    compute_s: float
    payload: bytes = b""  # grad_sum, num_params little-endian float64


@dataclass(frozen=True, slots=True)
class Result:
    """Coordinator: that gradient was not counted, and why."""

    run: str
    gen: int
    sid: int
    step: int
    lo: int
    hi: int
    status: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Coordinator: the answer to this lease is no longer wanted."""

    run: str
    gen: int
    sid: int
    lease: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Either side: are you there?"""

    run: str
    gen: int
    sid: int
    t: float  # opaque to the receiver, which sends it back


@dataclass(frozen=True, slots=True)
class Pong:
    """Either side: I am."""

    run: str
    gen: int
    sid: int
    t: float


@dataclass(frozen=True, slots=True)
class Who:
    """Coordinator: I do not know this session, or it is of another generation. Say HELLO again."""

    run: str
    gen: int
    sid: int


@dataclass(frozen=True, slots=True)
class Bye:
    """Either side: a clean leave. The worker's leases are free at once."""

    run: str
    gen: int
    sid: int
    reason: str
    durable_step: int  # the newest step that is on disk; -1 from a worker


Message: TypeAlias = (
    Hello
    | Welcome
    | Refuse
    | Ready
    | Task
    | Progress
    | Grad
    | Result
    | Cancel
    | Ping
    | Pong
    | Who
    | Bye
)
FromMember: TypeAlias = Ready | Progress | Grad | Ping | Pong | Bye
FromWorker: TypeAlias = Hello | FromMember
FromCoordinator: TypeAlias = Welcome | Refuse | Task | Result | Cancel | Ping | Pong | Who | Bye
