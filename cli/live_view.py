"""What a person sees on a terminal: a picture of the run that moves, and above it what happened."""

import sys
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.view import JsonView, PlainView, ProgressLine, View, describe
from coordinator.facts import CheckpointDurable, Fact, MemberSeen, MembersSeen, StepCommitted

WAITING = "waiting for workers"
BARS = "▁▂▃▄▅▆▇█"
CURVE_CELLS = 32  # of the loss; a run of any length fits
WORKERS_SHOWN = 8
SAVES_SHOWN = 3
REFRESHES_PER_S = 4


def choose_view(log_format: str, steps: int) -> View:
    """Give the view that fits where standard error goes."""
    if log_format == "json":
        return JsonView(sys.stderr)
    if sys.stderr.isatty():
        return LiveView(steps)
    return PlainView(steps)


class LossCurve:
    """The loss from the first step to the newest, in so many cells: each the mean of its steps."""

    def __init__(self, cells: int = CURVE_CELLS) -> None:
        self._cells_max = cells
        self.forget()

    def forget(self) -> None:
        self._sums: list[float] = []
        self._counts: list[int] = []
        self._per_cell = 1  # samples

    def add(self, loss: float) -> None:
        if not self._counts or self._counts[-1] == self._per_cell:
            if len(self._sums) == self._cells_max:
                self._halve()
            self._sums.append(0.0)
            self._counts.append(0)
        self._sums[-1] += loss
        self._counts[-1] += 1

    def _halve(self) -> None:
        """Join cells by twos, to make room for as many more samples as there were."""
        pairs = range(0, self._cells_max, 2)
        self._sums = [self._sums[i] + self._sums[i + 1] for i in pairs]
        self._counts = [self._counts[i] + self._counts[i + 1] for i in pairs]
        self._per_cell *= 2

    def __str__(self) -> str:
        means = [total / count for total, count in zip(self._sums, self._counts, strict=True)]
        finite = [mean for mean in means if abs(mean) < float("inf")]
        if not finite:
            return ""
        low, span = min(finite), max(finite) - min(finite)
        return "".join(
            BARS[round((mean - low) / span * (len(BARS) - 1))]
            if span and mean in finite
            else BARS[0]
            for mean in means
        )


class LiveView:
    """A bar that moves, the loss, what a step costs, and who works; events scroll by above it."""

    def __init__(self, steps: int) -> None:
        self._progress = ProgressLine()
        self._curve = LossCurve()
        self._members: Sequence[MemberSeen] = ()
        self._saves: deque[str] = deque(maxlen=SAVES_SHOWN)
        self._bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(WAITING, total=steps)
        self._live = Live(
            console=self._bar.console,
            get_renderable=self._picture,
            refresh_per_second=REFRESHES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def observe(self, fact: Fact) -> None:
        self._progress.take(fact)
        match fact:
            case StepCommitted():
                self._curve.add(fact.loss)
            case MembersSeen():
                self._members = fact.members
            case CheckpointDurable():
                self._saves.append(f"{fact.step} ({1e3 * fact.seconds:.0f} ms)")
        newest = self._progress.newest
        if newest is not None:
            self._bar.update(self._task, completed=newest.step, description=str(self._progress))
        if line := describe(fact):
            self.say(line)

    def say(self, text: str) -> None:
        self._live.console.print(Text(text), highlight=False)

    def go_back(self, step: int) -> None:
        self._progress.go_back(step)
        self._curve.forget()
        self._bar.update(self._task, completed=step, description=WAITING)

    def close(self) -> None:
        self._live.stop()

    def _picture(self) -> Group:
        return Group(self._bar, *self._lines(), self._table())

    def _lines(self) -> list[Text]:
        newest = self._progress.newest
        if newest is None:
            return []
        lines = []
        if curve := str(self._curve):
            lines.append(f"loss  {curve}")
        if newest.phases and newest.seconds > 0:
            kilobytes = (newest.bytes_sent + newest.bytes_received) / 1e3
            shares = "  ".join(
                f"{name} {100 * seconds / newest.seconds:.0f} %"
                for name, seconds in newest.phases.items()
                if seconds >= newest.seconds / 100
            )
            lines.append(f"step  {1e3 * newest.seconds:.2f} ms  {kilobytes:,.0f} kB  {shares}")
        if newest.grad_norms:
            norms = "  ".join(f"{name} {norm:.2g}" for name, norm in newest.grad_norms.items())
            lines.append(f"gradient norms  {norms}")
        if self._saves:
            lines.append(f"durable  {'  '.join(self._saves)}")
        return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for justify in ("left", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)
        for member in self._members[:WORKERS_SHOWN]:
            table.add_row(
                Text(member.name),
                Text(member.state),
                f"{member.documents_per_s:,.0f} documents/s alone",
                f"last in {member.waited_for:,} steps",
            )
        if len(self._members) > WORKERS_SHOWN:
            table.add_row(f"and {len(self._members) - WORKERS_SHOWN} more", "", "", "")
        return table
