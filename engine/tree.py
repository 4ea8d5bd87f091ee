"""The fixed reduction tree: in which order the shards of a step are added up.

Float addition is not associative, so the sum of a step is defined as one particular binary tree
over its shards, the same for any number of workers. Any subtree, a **branch** (lo, hi), can be
summed by anybody; whoever finishes the tree gets the same bits.

The split is that of RFC 9162 §2.1.1 (Merkle trees): at the largest power of two below the size.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Branch = tuple[int, int]  # shards lo, lo + 1, ..., hi - 1


def split(lo: int, hi: int) -> int:
    """Give the shard at which the right child of a branch of two or more shards begins."""
    assert hi - lo >= 2
    return int(lo + 2 ** ((hi - lo - 1).bit_length() - 1))


def tree_sum(lo: int, hi: int, find: Callable[[Branch], T | None], add: Callable[[T, T], T]) -> T:
    """Sum the branch (lo, hi).

    Args:
        find: gives the sum of a branch that is known, else None; each leaf must be known, or some
            branch above it.
        add: adds a left and a right sum; it may change and return the left one.
    """
    known = find((lo, hi))
    if known is not None:
        return known
    middle = split(lo, hi)
    return add(tree_sum(lo, middle, find, add), tree_sum(middle, hi, find, add))


def cut_branches(num_shards: int, count: int) -> list[Branch]:
    """Cut the tree into about `count` branches of like size, in shard order.

    The largest branch is split until there are `count` of them or only leaves are left.
    """
    branches: list[Branch] = [(0, num_shards)]
    while len(branches) < min(count, num_shards):
        index, (lo, hi) = max(enumerate(branches), key=lambda item: item[1][1] - item[1][0])
        branches[index : index + 1] = [(lo, split(lo, hi)), (split(lo, hi), hi)]
    return branches
