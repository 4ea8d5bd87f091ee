"""What the sampler counts, for Prometheus.

Source: https://prometheus.io/docs/practices/naming/ - one prefix, base units, few label values.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)  # a name takes about 0.005


class Observed:
    """The metrics of one sampler; for any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        prefix = "gradflock_sampler"
        self._requests = Counter(
            f"{prefix}_requests", "Requests by outcome.", ["door", "code"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}_request_seconds", "From request to last byte.", ["door"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._tokens = Counter(f"{prefix}_tokens", "Tokens drawn, BOS included.", registry=registry)
        self._choices = Counter(f"{prefix}_choices", "Documents drawn.", registry=registry)
        self._open = Gauge(f"{prefix}_open_orders", "Requests under way.", registry=registry)
        self._step = Gauge(
            f"{prefix}_checkpoint_step", "Updates applied to what is served.", registry=registry
        )
        self._build = Gauge(f"{prefix}_build_info", "Always 1.", ["version"], registry=registry)

    def built(self, version: str) -> None:
        self._build.labels(version).set(1)

    def answered(self, door: str, code: str, seconds: float) -> None:
        self._requests.labels(door, code).inc()
        self._seconds.labels(door).observe(seconds)

    def drew(self, tokens: int, choices: int) -> None:
        self._tokens.inc(tokens)
        self._choices.inc(choices)

    def open_orders(self, count: int) -> None:
        self._open.set(count)

    def serves(self, step: int) -> None:
        self._step.set(step)

    def render(self) -> bytes:
        """Give the text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)
