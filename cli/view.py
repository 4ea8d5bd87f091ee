"""What is told while a run goes on: plain lines for people, or JSON.

A coordinator that another program watches writes its facts as JSON lines instead; `read_fact` gives
them back.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol, TextIO, get_args

import click

from coordinator.facts import (
    BranchHedged,
    CheckpointDurable,
    CheckpointFailed,
    CheckpointPassedOver,
    ConnectionRefused,
    Fact,
    GradNotCounted,
    HeldOutEvaluated,
    LiarFound,
    MemberJoined,
    MemberLost,
    MemberSeen,
    MembersSeen,
    MessageDropped,
    PeerRefused,
    RunWentBack,
    SaveStuck,
    StepCommitted,
)
from coordinator.rate import Rate

PLAIN_EVERY_S = 2.0  # at most one progress line in this time
JSON_EVERY_S = 0.1  # at most one step
SHOWN = 10  # of what may happen again and again, a line each; then only each power of ten

_FACTS = {kind.__name__: kind for kind in get_args(Fact)}


def say(text: str) -> None:
    """Put a line on standard error, where results do not go; nobody need be reading."""
    with suppress(OSError):
        click.echo(text, err=True)


class View(Protocol):
    """Somebody who is told what happens."""

    def observe(self, fact: Fact) -> None: ...

    def say(self, text: str) -> None: ...

    def go_back(self, step: int) -> None:
        """Show no more than the steps up to this one, the newest that is durable."""

    def close(self) -> None: ...


class JsonView:
    """One JSON object a line.

    Of many steps a second some are told: the first, at most one in JSON_EVERY_S, and the newest
    before anything else is. All of them are in metrics.jsonl.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told_s = float("-inf")
        self._untold: StepCommitted | None = None

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, StepCommitted):
            self._untold = fact
            now = time.monotonic()
            if now - self._told_s < JSON_EVERY_S:
                return
            self._told_s = now
            self._tell_step()
            return
        self._tell_step()
        self._write({"fact": type(fact).__name__, **asdict(fact)})

    def say(self, text: str) -> None:
        self._write({"say": text})

    def go_back(self, step: int) -> None:
        pass

    def close(self) -> None:
        self._tell_step()

    def _tell_step(self) -> None:
        if self._untold is not None:
            fact, self._untold = self._untold, None
            self._write({"fact": type(fact).__name__, **asdict(fact)})

    def _write(self, values: dict[str, object]) -> None:
        with suppress(OSError):  # nobody reads any more; the run goes on without an audience
            self._stream.write(json.dumps(values) + "\n")
            self._stream.flush()


@dataclass(frozen=True, slots=True)
class Said:
    """A line that a coordinator has for people."""

    text: str


def read_fact(line: str) -> Fact | Said | str:
    """Read a line that JsonView wrote; any other line is itself."""
    try:
        values = json.loads(line)
        if "say" in values:
            return Said(str(values["say"]))
        if "members" in values:
            values["members"] = tuple(MemberSeen(**one) for one in values["members"])
        fact: Fact = _FACTS[values.pop("fact")](**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return fact


class PlainView:
    """A line for what happens, and now and then one for how far the run is."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._progress = ProgressLine()
        self._printed_s = float("-inf")

    def observe(self, fact: Fact) -> None:
        self._progress.take(fact)
        if not isinstance(fact, StepCommitted):
            line = describe(fact)
            if line:
                self.say(line)
            return
        now = time.monotonic()
        if now - self._printed_s >= PLAIN_EVERY_S or fact.step == self._steps:
            self._printed_s = now
            self.say(f"step {fact.step}/{self._steps}  {self._progress}")

    def say(self, text: str) -> None:
        say(text)

    def go_back(self, step: int) -> None:
        self._progress.go_back(step)

    def close(self) -> None:
        pass


def describe(fact: Fact) -> str:
    """Give the line for a fact that is worth one; empty otherwise."""
    match fact:
        case MemberJoined():
            return f"{fact.name} joined from {fact.host} (workers {fact.world_size})"
        case MemberLost():
            freed = f", branches freed: {fact.branches_freed}" if fact.branches_freed else ""
            return f"{fact.name} lost: {fact.reason}{freed} (workers {fact.world_size})"
        case PeerRefused():
            return f"refused {fact.name}: {fact.text}"
        case ConnectionRefused():
            return f"refused connection {fact.count}, from {fact.address}: it {fact.wrong}"
        case MessageDropped():
            return f"dropped message {fact.count}: {fact.reason}" if _is_worth(fact.count) else ""
        case GradNotCounted():
            return f"gradient of {fact.name} for step {fact.step} not counted: {fact.status}"
        case BranchHedged():
            if not _is_worth(fact.count):
                return ""
            branch = f"branch ({fact.lo}, {fact.hi}) of step {fact.step}"
            return f"{branch} is out for {fact.seconds:.2f} s: {fact.name} computes a copy"
        case LiarFound():
            branch = f"branch ({fact.lo}, {fact.hi}) of step {fact.step}"
            return f"{fact.name} has lied about {branch}: the coordinator computed other bits"
        case RunWentBack():
            return (
                f"going back from step {fact.step} to step {fact.to_step}, before its first answer"
            )
        case CheckpointFailed():
            if not _is_worth(fact.count):
                return ""
            return (
                f"step {fact.step} is not saved: {fact.reason}; training goes on,"
                f" {fact.unsaved} steps are at risk"
            )
        case CheckpointPassedOver():
            return f"passed over a checkpoint: {fact.complaint}"
        case SaveStuck():
            return (
                f"step {fact.step} is being saved for {fact.seconds:.0f} s; training goes on,"
                f" {fact.unsaved} steps are at risk"
            )
        case CheckpointDurable() if fact.failed_before:
            return f"step {fact.step} is saved, after {fact.failed_before} saves that failed"
        case CheckpointDurable() | HeldOutEvaluated() | StepCommitted() | MembersSeen():
            return ""


def _is_worth(count: int) -> bool:
    """Say whether what has happened so often is worth a line once more."""
    return count <= SHOWN or str(count).strip("0") == "1"


class ProgressLine:
    """How far a run is and how fast it goes, from its last steps and its newest evaluation.

    Attributes:
        newest: the last step that is known; None before the first.
    """

    def __init__(self) -> None:
        self.newest: StepCommitted | None = None
        self._rate = Rate()
        self.held_out = ""
        self.durable = ""

    def take(self, fact: Fact) -> None:
        """Take note of what may change the line."""
        match fact:
            case HeldOutEvaluated():
                self.held_out = f"  held-out {fact.held_out_loss:.4f} (step {fact.step})"
            case CheckpointDurable():
                self.durable = f"  durable {fact.step}"
            case RunWentBack():
                self.forget()
            case StepCommitted():
                self.newest = fact
                self._rate.add(fact.documents, fact.seconds)

    def __str__(self) -> str:
        """Give the line; empty before the first step."""
        if self.newest is None:
            return ""
        return (
            f"loss {self.newest.loss:.4f}{self.held_out}"
            f"  {self.rate}  workers {self.newest.workers}{self.durable}"
        )

    @property
    def rate(self) -> str:
        return f"{self._rate.documents_per_s:.1f} documents/s"

    def forget(self) -> None:
        """Forget what is known of steps that are undone."""
        self.newest, self.held_out, self.durable = None, "", ""

    def go_back(self, durable_step: int) -> None:
        """Stand at a step that is durable: those after it are computed again."""
        self.forget()
        self.durable = f"  durable {durable_step}"
