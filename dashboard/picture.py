"""The state behind the page: what was heard, read and drawn, put together.

Pure: it is told what others have found, and when, on a clock that only goes forward.
"""

import math
from collections.abc import Sequence
from statistics import median

from coordinator.status import PREPARING, READY, MemberStatus, Status
from coordinator.timeline import PHASES
from dashboard import timeline as times
from dashboard.curve import Curve
from dashboard.drawings import CHECKPOINTS_MAX, Drawing
from dashboard.metrics_file import Reading
from dashboard.timeline import Step, Timeline
from dashboard.tree import nodes
from dashboard.view import AWAY, CONNECTING, FINISHED, HERE, Json, View

SILENT_S = 3.0  # without an answer, from when on nobody is there
HELD_OUT_KNOWN = 4096  # the newest evaluations of which the exact step is remembered


class Picture:
    """One run, as far as it is known."""

    def __init__(self, name: str) -> None:
        """Know nothing yet.

        Args:
            name: of the run, for people.
        """
        self._name = name
        self._status: Status | None = None
        self._timeline: Timeline | None = None
        self._heard_s = -math.inf
        self._has_looked = False
        self._steps_wanted: int | None = None
        self._names: dict[int, Drawing] = {}
        self._losses, self._held_out = Curve(), Curve()
        self._held_out_of: dict[int, float] = {}
        self._totals: dict[str, int] = {}
        self._last_step = 0

    @property
    def run(self) -> str:
        """Give the id of the run that was drawn from; empty if none was."""
        return next((drawing.run for drawing in self._names.values()), "")

    def heard(self, status: Status, timeline: Timeline | None, now_s: float) -> None:
        """Take a coordinator's answers; an older one has no timeline."""
        self._status, self._timeline = status, timeline
        self._steps_wanted = status.steps
        self._heard_s = now_s
        self._has_looked = True

    def missed(self) -> None:
        """Note that nobody answered."""
        self._has_looked = True

    def read(self, reading: Reading) -> None:
        """Take lines of metrics.jsonl."""
        if reading.is_anew:
            self._forget_lines()
        for line in reading.lines:
            if line.step > self._last_step:
                self._last_step = line.step
                self._losses.add(line.step, line.loss)
                self._count("documents", line.documents)
                self._count("bytes_sent", line.bytes_sent)
                self._count("bytes_received", line.bytes_received)
            if line.held_out_loss is not None and line.step not in self._held_out_of:
                self._held_out.add(line.step, line.held_out_loss)
                self._held_out_of[line.step] = line.held_out_loss
                if len(self._held_out_of) > HELD_OUT_KNOWN:
                    del self._held_out_of[next(iter(self._held_out_of))]

    def drew(self, drawing: Drawing) -> None:
        """Take what a checkpoint has invented."""
        if drawing.is_newest:
            if self._status is None:
                self._steps_wanted = drawing.steps
            is_same = self.run in ("", drawing.run)
            self._names = {
                step: known
                for step, known in self._names.items()
                if is_same and step < drawing.step
            }
        self._names[drawing.step] = drawing
        for step in sorted(self._names)[:-CHECKPOINTS_MAX]:
            del self._names[step]

    def view(self, now_s: float) -> View:
        """Give what pages see."""
        steps = self._timeline.steps if self._timeline else ()
        state = self._state(now_s)
        return View(
            state=state,
            run=self._run(state),
            members=self._members(steps),
            losses=[list(point) for point in self._losses.points()],
            held_out=[list(point) for point in self._held_out.points()],
            values_per_point=self._losses.values_per_point,
            totals=dict(self._totals),
            steps=self._steps(steps),
            phases=_phases(steps),
            tree=self._tree(),
            names=[self._invented(self._names[step]) for step in sorted(self._names)],
        )

    # ---- parts of the view ----------------------------------------------------------------------

    def _state(self, now_s: float) -> str:
        if now_s - self._heard_s < SILENT_S:
            return HERE
        if not self._has_looked:
            return CONNECTING
        newest = max((self._last_step, *self._names))
        is_done = self._steps_wanted is not None and newest >= self._steps_wanted
        return FINISHED if is_done else AWAY

    def _run(self, state: str) -> Json:
        facts: Json = {"name": self._name, "id": self.run, "steps": self._steps_wanted}
        on_disk = max((self._last_step, *self._names))
        if self._status is None:
            return {**facts, "step": on_disk}
        status = self._status
        facts["step"] = status.step if state == HERE else max(status.step, on_disk)
        same = (
            *("gen", "phase", "durable_step", "seconds", "world_size", "hedges"),
            *("audits", "dropped", "lost", "save_trouble", "numerics"),
        )
        facts |= {name: getattr(status, name) for name in same}
        facts |= {
            "id": status.run,
            "loss": _finite(status.loss),
            "documents_per_s": _finite(status.documents_per_s),
            "preparing": sum(member.phase == PREPARING for member in status.members),
            "ready": sum(member.phase == READY for member in status.members),
            "quarantined": len(status.quarantined),
        }
        if self._timeline is not None:
            facts |= {"shards": self._timeline.shards, "params": self._timeline.params}
        return facts

    def _members(self, steps: Sequence[Step]) -> list[Json]:
        members = self._status.members if self._status else ()
        return [_member(member, steps) for member in members]

    def _steps(self, steps: Sequence[Step]) -> list[Json]:
        known = [member.name for member in self._status.members] if self._status else []
        workers = list(dict.fromkeys([*known, *times.workers_of(steps)]))
        return [
            {
                "step": step.step,
                "opened_s": step.opened_s,
                "seconds": step.seconds,
                "coordinator": _segments(times.coordinator_segments(step)),
                "workers": [
                    {"worker": name, "segments": _segments(times.segments(step, name))}
                    for name in workers
                ],
            }
            for step in steps
        ]

    def _tree(self) -> Json:
        if self._timeline is None:
            return {}
        made = nodes(self._timeline.shards, self._timeline.branches)
        return {"step": self._timeline.open_step, "nodes": made}

    def _invented(self, drawing: Drawing) -> Json:
        return {
            "step": drawing.step,
            "names": list(drawing.names),
            "held_out_loss": _finite(self._held_out_of.get(drawing.step)),
            "trouble": drawing.trouble,
        }

    # ---- lines ----------------------------------------------------------------------------------

    def _forget_lines(self) -> None:
        self._losses.clear()
        self._held_out.clear()
        self._held_out_of.clear()
        self._totals.clear()
        self._last_step = 0

    def _count(self, what: str, count: int | None) -> None:
        if count is not None:
            self._totals[what] = self._totals.get(what, 0) + count


def _member(member: MemberStatus, steps: Sequence[Step]) -> Json:
    return {
        "worker": member.name,
        "rank": member.rank,
        "phase": member.phase,
        "host": member.host,
        "documents": member.documents_done,
        "documents_per_s": _finite(member.documents_per_s),
        "shares": times.shares(steps, member.name),
        "waited_for": member.waited_for,  # older coordinators do not count it
        "hedges": member.hedges,
        "heard_s": _finite(member.heard_s),
    }


def _segments(segments: Sequence[times.Segment]) -> list[list[float | str]]:
    """Give kind, begin, end of each to a tenth of a microsecond, and shards of who computes."""
    return [
        [
            one.kind,
            round(one.begin_s, 7),
            round(one.end_s, 7),
            *([one.lo, one.hi] if one.hi else []),
        ]
        for one in segments
    ]


def _phases(steps: Sequence[Step]) -> list[Json]:
    """Give the median over steps of each phase's time, and the bytes that move in it."""
    made = []
    for phase in PHASES:
        found = [seconds for step in steps for name, seconds in step.phases if name == phase]
        if found:
            made.append({"phase": phase, "seconds": median(found), "bytes": None})
    for one in made:
        if one["phase"] == "broadcast":
            one["bytes"] = median(step.bytes_sent for step in steps)
        elif one["phase"] == "collect":
            one["bytes"] = median(step.bytes_received for step in steps)
    return made


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
