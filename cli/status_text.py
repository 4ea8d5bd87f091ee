"""How a run stands, as people read it: some lines about the run, then a table of its members."""

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from coordinator.status import MemberStatus, Status

UNKNOWN = "-"
RUN_CHARACTERS = 12  # of a run's id; enough to tell runs apart
LEASES_SHOWN = 2  # a member holds no more

# RANK and WORLD_SIZE have the names that other trainers give them in the environment.
COLUMNS = (
    *("RANK", "name", "host", "pid", "phase", "branches", "documents", "documents/s"),
    *("heard", "leases", "hedges", "waited for", "s/document"),
)
WIDE = 122  # characters that all columns take, if names are short; a narrower place gets these:
NARROW_COLUMNS = ("RANK", "name", "branches", "documents/s", "heard", "leases", "hedges")
TEXT_COLUMNS = ("name", "host", "phase", "leases")  # to the left; numbers stand to the right


def head(status: Status) -> list[str]:
    """Give the lines about the run."""
    branches = status.branches
    loss = UNKNOWN if status.loss is None else f"{status.loss:.4f}"
    durable = "no step" if status.durable_step < 0 else f"step {status.durable_step}"
    lines = [
        f"run {status.run[:RUN_CHARACTERS]}  generation {status.gen}  {status.phase}"
        f"  for {_seconds(status.seconds)}  numerics {status.numerics}",
        f"step {status.step}/{status.steps} committed, {durable} durable"
        f"  loss {loss}  {_rate(status.documents_per_s)} documents/s",
        f"WORLD_SIZE {status.world_size}  membership version {status.membership_version}"
        f"  lost {status.lost}  hedges {status.hedges}  audits {status.audits}"
        f"  dropped messages {status.dropped}",
        f"branches {branches.total}: {branches.summed} summed, {branches.leased} leased,"
        f" {branches.waiting} waiting",
    ]
    if status.save_trouble:
        lines.append(f"not saving: {status.save_trouble}")
    if status.quarantined:
        lines.append(f"quarantined: {', '.join(status.quarantined)}")
    return lines + [f"refused {one.name} ({one.code}): {one.text}" for one in status.refusals]


def cells(member: MemberStatus) -> list[str]:
    """Give a member's row."""
    leases = " ".join(f"({lo}, {hi})" for lo, hi in member.leases[:LEASES_SHOWN])
    return [
        UNKNOWN if member.rank is None else str(member.rank),
        member.name,
        member.host,
        str(member.pid),
        member.phase,
        str(member.branches_done),
        str(member.documents_done),
        _rate(member.documents_per_s),
        f"{_seconds(member.heard_s)} ago",
        leases or UNKNOWN,
        str(member.hedges),
        str(member.waited_for),
        f"{member.document_s:.3g}",
    ]


def plain(status: Status) -> str:
    """Give the whole as lines whose columns are aligned."""
    rows = [COLUMNS, *(cells(member) for member in status.members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [_aligned(row, widths) for row in rows] if status.members else ["no workers"]
    return "\n".join([*head(status), "", *table])


def rich(status: Status, width: int) -> Group:
    """Give the whole for a terminal so many characters wide."""
    shown = COLUMNS if width >= WIDE else NARROW_COLUMNS
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=True)
    for member in status.members:
        row = dict(zip(COLUMNS, cells(member), strict=True))
        table.add_row(*(Text(row[name]) for name in shown))
    return Group(*map(Text, head(status)), "", table if status.members else Text("no workers"))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(COLUMNS, row, widths, strict=True)
    cells = [
        cell.ljust(width) if name in TEXT_COLUMNS else cell.rjust(width)
        for name, cell, width in columns
    ]
    return "  ".join(cells).rstrip()


def _rate(documents_per_s: float) -> str:
    return UNKNOWN if math.isnan(documents_per_s) else f"{documents_per_s:.1f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
