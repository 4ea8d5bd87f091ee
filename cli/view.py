"""What a person sees while a run goes on: a live bar on a terminal, plain lines anywhere else.

A coordinator that another program watches writes its facts as JSON lines instead; `read_fact` gives
them back.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol, TextIO, get_args

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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
    MessageDropped,
    PeerRefused,
    RunWentBack,
    SaveStuck,
    StepCommitted,
)
from coordinator.rate import Rate

PLAIN_EVERY_S = 2.0  # at most one progress line in this time
SHOWN = 10  # of what may happen again and again, a line each; then only each power of ten
WAITING = "waiting for workers"

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


def choose_view(log_format: str, steps: int) -> View:
    """Give the view that fits where standard error goes."""
    if log_format == "json":
        return JsonView(sys.stderr)
    if sys.stderr.isatty():
        return LiveView(steps)
    return PlainView(steps)


class JsonView:
    """One JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def observe(self, fact: Fact) -> None:
        self._write({"fact": type(fact).__name__, **asdict(fact)})

    def say(self, text: str) -> None:
        self._write({"say": text})

    def go_back(self, step: int) -> None:
        pass

    def close(self) -> None:
        pass

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
        fact: Fact = _FACTS[values.pop("fact")](**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return fact


class PlainView:
    """A line for what happens, and now and then one for how far the run is."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._progress = _Progress()
        self._printed_s = float("-inf")

    def observe(self, fact: Fact) -> None:
        progress = self._progress.after(fact)
        if not isinstance(fact, StepCommitted):
            line = describe(fact)
            if line:
                self.say(line)
            return
        now = time.monotonic()
        if now - self._printed_s >= PLAIN_EVERY_S or fact.step == self._steps:
            self._printed_s = now
            self.say(f"step {fact.step}/{self._steps}  {progress}")

    def say(self, text: str) -> None:
        say(text)

    def go_back(self, step: int) -> None:
        self._progress.go_back(step)

    def close(self) -> None:
        pass


class LiveView:
    """A bar that moves; what happens scrolls by above it."""

    def __init__(self, steps: int) -> None:
        self._progress = _Progress()
        self._bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(WAITING, total=steps)
        self._bar.start()

    def observe(self, fact: Fact) -> None:
        if progress := self._progress.after(fact):
            self._bar.update(self._task, completed=self._progress.step, description=progress)
        if line := describe(fact):
            self.say(line)

    def say(self, text: str) -> None:
        self._bar.console.print(escape(text), highlight=False)

    def go_back(self, step: int) -> None:
        self._progress.go_back(step)
        self._bar.update(self._task, completed=step, description=WAITING)

    def close(self) -> None:
        self._bar.stop()


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
        case CheckpointDurable() | HeldOutEvaluated() | StepCommitted():
            return ""


def _is_worth(count: int) -> bool:
    """Say whether what has happened so often is worth a line once more."""
    return count <= SHOWN or str(count).strip("0") == "1"


class _Progress:
    """How far a run is and how fast it goes, from its last steps and its newest evaluation."""

    def __init__(self) -> None:
        self._newest: StepCommitted | None = None
        self._rate = Rate()
        self._held_out = ""
        self._durable = ""

    def after(self, fact: Fact) -> str:
        """Give the line of progress; empty before the first step."""
        if isinstance(fact, HeldOutEvaluated):
            self._held_out = f"  held-out {fact.held_out_loss:.4f} (step {fact.step})"
        elif isinstance(fact, CheckpointDurable):
            self._durable = f"  durable {fact.step}"
        elif isinstance(fact, RunWentBack):
            self.forget()
        elif isinstance(fact, StepCommitted):
            self._newest = fact
            self._rate.add(fact.documents, fact.seconds)
        newest = self._newest
        if newest is None:
            return ""
        rate = f"{self._rate.documents_per_s:.1f} documents/s"
        return (
            f"loss {newest.loss:.4f}{self._held_out}"
            f"  {rate}  workers {newest.workers}{self._durable}"
        )

    def forget(self) -> None:
        """Forget what is known of steps that are undone."""
        self._newest, self._held_out, self._durable = None, "", ""

    def go_back(self, durable_step: int) -> None:
        """Stand at a step that is durable: those after it are computed again."""
        self.forget()
        self._durable = f"  durable {durable_step}"

    @property
    def step(self) -> int:
        return 0 if self._newest is None else self._newest.step
