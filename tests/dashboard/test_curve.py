"""A curve keeps few points, and says what each of them stands for."""

import math

import pytest

from dashboard.curve import Curve

pytestmark = pytest.mark.unit


def drawn(values: int, points_max: int = 8) -> Curve:
    curve = Curve(points_max)
    for step in range(1, values + 1):
        curve.add(step, float(step))
    return curve


def test_few_values_are_points_of_their_own() -> None:
    assert drawn(3).points() == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_points_are_joined_in_pairs_when_there_are_too_many() -> None:
    curve = drawn(8)

    assert curve.values_per_point == 2
    assert curve.points() == [(2, 1.5), (4, 3.5), (6, 5.5), (8, 7.5)]


def test_the_newest_value_is_always_there() -> None:
    assert drawn(9).points()[-1] == (9, 9.0)


def test_however_long_it_is_it_has_few_points_and_no_value_is_lost() -> None:
    curve = drawn(1_003)

    points = curve.points()
    assert len(points) <= 8
    whole = sum(curve.values_per_point * value for _, value in points[:-1] if value is not None)
    rest = 1_003 - curve.values_per_point * (len(points) - 1)
    assert whole + rest * (points[-1][1] or 0) == sum(range(1_004))


def test_a_loss_that_is_not_finite_is_a_gap() -> None:
    curve = Curve(8)
    curve.add(1, math.nan)
    curve.add(2, 2.0)

    assert curve.points() == [(1, None), (2, 2.0)]


def test_a_curve_that_is_cleared_begins_anew() -> None:
    curve = drawn(100)
    curve.clear()
    curve.add(1, 5.0)

    assert curve.points() == [(1, 5.0)]
    assert curve.values_per_point == 1
