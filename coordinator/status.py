"""What a coordinator says of itself when it is asked: one JSON object, for people and dashboards.

A member's rank is its place among the members that are ready for work, as RANK is elsewhere, and
world_size is their number. Both change whenever somebody comes or goes; nothing depends on them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from coordinator.errors import StatusUnreadable

PREPARING, READY = "preparing", "ready"  # phases of a member
STRICT, ACCEPTED = "strict", "accepted"  # what becomes of workers with other numerics
REFUSALS_KEPT = 10


@dataclass(frozen=True, slots=True)
class BranchCounts:
    """The branches of the open step; one that is leased twice is counted once."""

    total: int
    summed: int
    leased: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody was told to leave."""

    name: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One worker.

    Attributes:
        rank: 0 to world_size - 1; None until it is ready for work.
        branches_done: that it has answered in time; documents_done are theirs.
        documents_per_s: documents per second of its own computing.
        heard_s: seconds since its last frame.
        leases: branches (lo, hi) that it holds, oldest first.
        hedges: leases it was given of branches that another was late with.
        waited_for: steps whose last answer was its own.
        document_s: seconds that it needs for a document, at worst.
    """

    rank: int | None
    name: str
    host: str
    pid: int
    phase: str
    branches_done: int
    documents_done: int
    documents_per_s: float
    heard_s: float
    leases: tuple[tuple[int, int], ...]
    hedges: int
    waited_for: int
    document_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """One coordinator, at one moment.

    Attributes:
        gen: how many times the run's coordinator has started.
        phase: of the coordinator, in lower case.
        loss: of the last of them, nats; None before the first.
        documents_per_s: over the last steps.
        step: updates committed, which are in memory, of `steps`.
        durable_step: newest step on disk; -1 if there is none.
        saving_step: the step on its way there, if one is.
        save_trouble: what keeps steps from becoming durable, for people; empty if nothing does.
        seconds: since this coordinator started.
        membership_version: how often a worker has become ready or was lost.
        hedges: second leases of a late branch; `audits`: branches that were computed twice on
            purpose; `dropped`: messages; `lost`: members.
        quarantined: names of workers whose gradients were wrong.
        refusals: the last ten.
        numerics: "strict", or "accepted": then workers that round otherwise are let in.
    """

    run: str
    gen: int
    phase: str
    step: int
    steps: int
    loss: float | None
    documents_per_s: float
    durable_step: int
    saving_step: int | None
    save_trouble: str
    seconds: float
    world_size: int
    membership_version: int
    branches: BranchCounts
    hedges: int
    audits: int
    dropped: int
    lost: int
    quarantined: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    numerics: str
    members: tuple[MemberStatus, ...]


def to_json(status: Status) -> bytes:
    """Give the status as canonical JSON; a number that is not finite is null."""
    values = _finite(asdict(status))
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def from_json(data: bytes) -> Status:
    """Read what `to_json` wrote; keys that are not known yet are passed over.

    Raises:
        StatusUnreadable: it did not.
    """
    try:
        status = _read(Status, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise StatusUnreadable(f"expected a coordinator's status, got {error}") from None
    assert isinstance(status, Status)
    return status


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: Any, value: Any) -> Any:
    """Make a value of the annotated kind from what JSON gave."""
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        hints = get_type_hints(kind)
        missing = [field.name for field in fields(kind) if field.name not in value]
        if missing:
            raise ValueError(f"none for {missing[0]}")
        return kind(**{name: _read(hint, value[name]) for name, hint in hints.items()})
    if get_origin(kind) is tuple and isinstance(value, list):
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) == len(value):
            return tuple(map(_read, kinds, value))
    if get_origin(kind) is UnionType:
        (other,) = (one for one in get_args(kind) if one is not NoneType)
        return None if value is None else _read(other, value)
    if kind is float and (value is None or type(value) in (int, float)):
        return math.nan if value is None else float(value)
    if type(value) is kind:
        return value
    raise ValueError(f"{str(value)[:40]!r} for {getattr(kind, '__name__', kind)}")
