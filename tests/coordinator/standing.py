"""A status as tests want it."""

from dataclasses import replace
from typing import Any

from coordinator.status import BranchCounts, MemberStatus, Refusal, Status

MEMBER = MemberStatus(
    rank=0,
    name="w0-11be",
    host="alpha",
    pid=4711,
    phase="ready",
    branches_done=12,
    documents_done=96,
    documents_per_s=41.25,
    heard_s=0.4,
    leases=((0, 2), (2, 4)),
    hedges=1,
    waited_for=57,
    document_s=0.0213,
)
NEWCOMER = replace(
    MEMBER, rank=None, name="w1-7f3a", phase="preparing", branches_done=0, leases=(), heard_s=12.3
)
STATUS = Status(
    run="5f" * 16,
    gen=2,
    phase="training",
    step=118,
    steps=1000,
    loss=2.34567,
    documents_per_s=123.5,
    durable_step=100,
    saving_step=None,
    save_trouble="",
    seconds=65.4,
    world_size=1,
    membership_version=5,
    branches=BranchCounts(total=12, summed=4, leased=5, waiting=3),
    hedges=2,
    audits=1,
    dropped=7,
    lost=3,
    quarantined=("liar-22aa",),
    refusals=(Refusal("liar-22aa", "QUARANTINE", "expected the bits of branch (0, 2)"),),
    numerics="strict",
    members=(MEMBER, NEWCOMER),
)


def status_with(**fields: Any) -> Status:
    return replace(STATUS, **fields)
