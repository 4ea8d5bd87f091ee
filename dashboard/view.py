"""What pages see at one moment, as JSON, and what has changed since another.

A stream holds the view that it sent last and is given the difference to the present one. So there
is no queue: a reader that takes its time gets fewer and larger steps.
"""

from dataclasses import dataclass, field, fields
from typing import Any

CONNECTING, HERE, AWAY, FINISHED = "connecting", "here", "away", "finished"
GROWING = ("losses", "held_out", "names")  # lists that mostly change at their end

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a run; every field is JSON.

    Attributes:
        state: of the coordinator: CONNECTING, HERE, AWAY or FINISHED.
        run: facts of the run and its coordinator, by the names of coordinator.status.
        members: one object for each worker that the coordinator has.
        losses, held_out: [step, nats] of each point; null where it was not finite.
        values_per_point: of `losses`: how many steps a point is the mean of.
        totals: documents and bytes of all steps of the run, where they were counted.
        steps: the last steps, oldest first, each with what everybody did in it.
        phases: medians over those.
        tree: nodes of the open step's reduction tree, parents first.
        names: what each checkpoint has invented, oldest first.
    """

    state: str = CONNECTING
    run: Json = field(default_factory=dict)
    members: list[Json] = field(default_factory=list)
    losses: list[list[float | None]] = field(default_factory=list)
    held_out: list[list[float | None]] = field(default_factory=list)
    values_per_point: int = 1
    totals: Json = field(default_factory=dict)
    steps: list[Json] = field(default_factory=list)
    phases: list[Json] = field(default_factory=list)
    tree: Json = field(default_factory=dict)
    names: list[Json] = field(default_factory=list)


def everything(view: View) -> Json:
    return {one.name: getattr(view, one.name) for one in fields(View)}


def difference(before: View, after: View) -> Json:
    """Give the fields that differ; of a list that grows, from which item on it does."""
    changed: Json = {}
    for name, value in everything(after).items():
        known = getattr(before, name)
        if value == known:
            continue
        if name in GROWING:
            start = _common(known, value)
            changed[name] = {"from": start, "items": value[start:]}
        else:
            changed[name] = value
    return changed


def _common(one: list[Any], other: list[Any]) -> int:
    """Say how many items two lists have in common at their begin."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)
