"""The open step's reduction tree, node by node, and who adds up each of them."""

from collections.abc import Sequence

from dashboard.timeline import Branch
from dashboard.view import Json
from engine.tree import split

LEAVES_MAX = 64  # in a larger tree, what a worker sums is drawn as one leaf


def nodes(shards: int, branches: Sequence[Branch]) -> list[Json]:
    """List the nodes of the tree, each parent before its children.

    A node below a branch is that branch's: its workers compute it. Those above are the
    coordinator's, which adds what comes back.
    """
    found: list[Json] = []

    def visit(lo: int, hi: int, depth: int, branch: Branch | None) -> None:
        for one in branches:
            branch = one if (one.lo, one.hi) == (lo, hi) else branch
        is_leaf = hi - lo == 1 or (branch is not None and shards > LEAVES_MAX)
        found.append(
            {
                "lo": lo,
                "hi": hi,
                "depth": depth,
                "is_leaf": is_leaf,
                "state": branch.state if branch else "",
                "workers": list(branch.workers) if branch else [],
            }
        )
        if not is_leaf:
            middle = split(lo, hi)
            visit(lo, middle, depth + 1, branch)
            visit(middle, hi, depth + 1, branch)

    if shards > 0 and (shards <= LEAVES_MAX or branches):
        visit(0, shards, 0, None)
    return found
