"""A curve of at most so many points, however many values it is drawn from."""

import math

POINTS_MAX = 1000


class Curve:
    """Means of so many values each; when there are too many points, two become one.

    Attributes:
        values_per_point: how many values a point is the mean of; the last one may have fewer.
    """

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        assert points_max % 2 == 0, "points are joined in pairs"
        self._points_max = points_max
        self.clear()

    def clear(self) -> None:
        self.values_per_point = 1
        self._points: list[tuple[int, float]] = []
        self._open: list[float] = []  # values of the point that is not whole yet
        self._step = 0

    def add(self, step: int, value: float) -> None:
        self._open.append(value)
        self._step = step
        if len(self._open) < self.values_per_point:
            return
        self._points.append((step, _mean(self._open)))
        self._open = []
        if len(self._points) == self._points_max:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(last, _mean([one, two])) for (_, one), (last, two) in pairs]
            self.values_per_point *= 2

    def points(self) -> list[tuple[int, float | None]]:
        """Give (step, mean) of each point, the last step of it; None where it is not finite."""
        points = [*self._points]
        if self._open:
            points.append((self._step, _mean(self._open)))
        return [(step, value if math.isfinite(value) else None) for step, value in points]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
