"""A view as Prometheus reads it.

What only a coordinator knows is absent while none answers: no number is better than an old one.
What counts the whole run comes from its files, and stays.

Source: https://prometheus.io/docs/practices/naming/ - one prefix, base units, few label values.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dashboard.view import HERE, Json, View

PREFIX = "gradflock"

GAUGES = {  # of the run -> name and help
    "step": ("step", "Updates applied, in memory."),
    "steps": ("steps_wanted", "Updates that the run is to have."),
    "durable_step": ("durable_step", "Newest step that is on disk; -1 if there is none."),
    "loss": ("loss_nats", "Mean loss of the last step."),
    "documents_per_s": ("documents_per_second", "Over the last steps."),
    "gen": ("generation", "How often the run's coordinator has started."),
    "quarantined": ("workers_quarantined", "Workers whose gradients were wrong."),
}
COUNTERS = {
    "hedges": ("hedges", "Second leases of a late branch, since the coordinator's start."),
    "audits": ("audits", "Branches computed twice on purpose, since the coordinator's start."),
    "lost": ("members_lost", "Members lost, since the coordinator's start."),
    "dropped": ("messages_dropped", "Messages dropped, since the coordinator's start."),
}
TOTALS = {
    "documents": ("documents", "Documents of all steps of the run."),
    "bytes_sent": ("bytes_sent", "Bytes sent to workers in all steps of the run."),
    "bytes_received": ("bytes_received", "Bytes received from workers in all steps of the run."),
}
WORKER_GAUGES = {
    "documents_per_s": ("documents_per_second", "Of a worker's own computing."),
    "heard_s": ("silence_seconds", "Since a worker's last frame."),
}
WORKER_COUNTERS = {
    "documents": ("documents", "Documents of the branches that a worker has answered."),
    "waited_for": ("waited_for_steps", "Steps that ended with a worker's answer."),
    "hedges": ("hedges", "Leases a worker was given of branches that another was late with."),
}


def render(view: View, version: str) -> bytes:
    """Give the text format of Prometheus, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Families(view, version))
    return generate_latest(registry)


class _Families(Collector):
    """The metric families of one view."""

    def __init__(self, view: View, version: str) -> None:
        self._view = view
        self._version = version

    def collect(self) -> Iterable[Metric]:
        view = self._view
        is_here = view.state == HERE
        info = GaugeMetricFamily(f"{PREFIX}_dashboard_build_info", "Always 1.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        yield GaugeMetricFamily(
            f"{PREFIX}_up", "Whether the run's coordinator answers.", value=int(is_here)
        )
        for key, (name, text) in TOTALS.items():
            if key in view.totals:
                yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=view.totals[key])
        if is_here:
            yield from _of_the_run(view)
            yield from _of_the_workers(view.members)


def _of_the_run(view: View) -> Iterator[Metric]:
    for key, (name, text) in GAUGES.items():
        if view.run.get(key) is not None:
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=view.run[key])
    for key, (name, text) in COUNTERS.items():
        yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=view.run[key])
    if view.held_out and view.held_out[-1][1] is not None:
        text = "Mean loss of the held-out documents, when they were last evaluated."
        yield GaugeMetricFamily(f"{PREFIX}_held_out_loss_nats", text, value=view.held_out[-1][1])
    workers = GaugeMetricFamily(f"{PREFIX}_workers", "Workers by phase.", labels=["phase"])
    for phase in ("preparing", "ready"):
        workers.add_metric([phase], view.run[phase])
    yield workers
    if view.phases:
        text = "Median over the last steps of each phase of the chain that a step is as long as."
        phases = GaugeMetricFamily(f"{PREFIX}_step_phase_seconds", text, labels=["phase"])
        for one in view.phases:
            phases.add_metric([one["phase"]], one["seconds"])
        yield phases


def _of_the_workers(members: list[Json]) -> Iterator[Metric]:
    by_name = {member["worker"]: member for member in members}  # a series may come only once
    for family, table in (
        (GaugeMetricFamily, WORKER_GAUGES),
        (CounterMetricFamily, WORKER_COUNTERS),
    ):
        for key, (name, text) in table.items():
            metric = family(f"{PREFIX}_worker_{name}", text, labels=["worker"])
            for worker, member in by_name.items():
                if member[key] is not None:
                    metric.add_metric([worker], member[key])
            yield metric
