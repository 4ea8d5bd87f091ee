"""The reduction tree, and whose each of its nodes is."""

import pytest

from dashboard.timeline import Branch
from dashboard.tree import LEAVES_MAX, nodes

pytestmark = pytest.mark.unit

HALVES = [Branch(0, 4, "summed", ("a",)), Branch(4, 8, "leased", ("b", "c"))]


def test_the_root_is_the_coordinators_and_branches_are_their_workers() -> None:
    found = {(node["lo"], node["hi"]): node for node in nodes(8, HALVES)}

    assert found[0, 8]["workers"] == []
    assert found[0, 8]["state"] == ""
    assert found[4, 8]["workers"] == ["b", "c"]
    assert found[6, 7] == {
        "lo": 6,
        "hi": 7,
        "depth": 3,
        "is_leaf": True,
        "state": "leased",
        "workers": ["b", "c"],
    }


def test_there_is_a_leaf_for_each_shard() -> None:
    for shards in (1, 5, 8, 13):
        leaves = [node["lo"] for node in nodes(shards, []) if node["is_leaf"]]
        assert leaves == [*range(shards)]


def test_parents_come_before_their_children() -> None:
    found = nodes(8, HALVES)

    for index, node in enumerate(found[1:], start=1):
        parents = [one for one in found[:index] if one["depth"] == node["depth"] - 1]
        assert any(one["lo"] <= node["lo"] and node["hi"] <= one["hi"] for one in parents)


def test_of_a_large_tree_branches_are_the_leaves() -> None:
    shards = 4 * LEAVES_MAX
    branches = [
        Branch(lo, lo + LEAVES_MAX, "leased", ("a",)) for lo in range(0, shards, LEAVES_MAX)
    ]

    assert len(nodes(shards, branches)) == 7
    assert nodes(shards, []) == []
