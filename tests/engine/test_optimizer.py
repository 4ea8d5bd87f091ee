"""Adam and its schedules, against the formulas written out once more."""

import math
from array import array

import pytest

from engine.config import TrainConfig
from engine.optimizer import Moments, adam_update, learning_rate

pytestmark = pytest.mark.unit


def test_adam_is_its_formulas_bit_for_bit_over_the_first_steps() -> None:
    config = TrainConfig(
        steps=10, batch_size=1, shards=1, learning_rate=0.03, beta1=0.8, beta2=0.9, epsilon=1e-7
    )
    grads = [[0.1 * (i + 1) * (-1) ** (i + s) + 0.01 * s for i in range(200)] for s in range(3)]
    p = [0.05 * i - 3.0 for i in range(200)]
    m, v = [0.0] * 200, [0.0] * 200
    params, moments = array("d", p), Moments.zeros(200)

    for s, grad in enumerate(grads):
        params, moments = adam_update(config, s, params, moments, array("d", grad))

        lr = 0.03 * (1 - s / 10)
        for i, g in enumerate(grad):
            m[i] = 0.8 * m[i] + (1 - 0.8) * g
            v[i] = 0.9 * v[i] + (1 - 0.9) * g**2
            m_hat = m[i] / (1 - 0.8 ** (s + 1))
            v_hat = v[i] / (1 - 0.9 ** (s + 1))
            p[i] = p[i] - lr * m_hat / (v_hat**0.5 + 1e-7)
        assert list(params) == p
        assert (list(moments.m), list(moments.v)) == (m, v)


def test_the_root_of_the_second_moment_is_a_power() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1, learning_rate=0.01)
    m_hat = (1 - 0.85) * 0.3235 / (1 - 0.85)
    v_hat = (1 - 0.99) * 0.3235**2 / (1 - 0.99)

    params, _ = adam_update(config, 0, array("d", [0.0]), Moments.zeros(1), array("d", [0.3235]))

    assert list(params) == [0.0 - 0.01 * m_hat / (v_hat**0.5 + 1e-8)]  # math.sqrt differs here


def test_an_update_leaves_what_it_was_given_alone() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1)
    params, moments, grad = array("d", [1.0]), Moments.zeros(1), array("d", [0.5])

    adam_update(config, 0, params, moments, grad)

    assert (list(params), list(moments.m), list(moments.v), list(grad)) == ([1.0], [0], [0], [0.5])


def test_moments_start_from_zero() -> None:
    moments = Moments.zeros(3)

    assert (list(moments.m), list(moments.v)) == ([0.0] * 3, [0.0] * 3)


def test_a_parameter_without_gradient_stays() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1)

    params, _ = adam_update(config, 0, array("d", [1.5]), Moments.zeros(1), array("d", [0.0]))

    assert list(params) == [1.5]


def test_a_gradient_whose_square_leaves_the_floats_raises() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1)

    with pytest.raises(OverflowError):
        adam_update(config, 0, array("d", [1.0]), Moments.zeros(1), array("d", [1e200]))


def test_a_gradient_of_another_length_is_refused() -> None:
    config = TrainConfig(steps=1, batch_size=1, shards=1)

    with pytest.raises(ValueError, match="shorter"):
        adam_update(config, 0, array("d", [1.0, 2.0]), Moments.zeros(2), array("d", [0.5]))


@pytest.mark.parametrize(
    ("schedule", "warmup_steps", "rates"),
    [
        ("constant", 0, [0.5, 0.5, 0.5, 0.5]),
        ("linear", 0, [0.5, 0.5 * (1 - 1 / 4), 0.5 * (1 - 2 / 4), 0.5 * (1 - 3 / 4)]),
        ("cosine", 0, [0.5, 0.25 * (1 + 0.5**0.5), 0.25, 0.25 * (1 - 0.5**0.5)]),
        ("constant", 3, [0.5 / 3, 1.0 / 3, 0.5, 0.5]),
        ("linear", 2, [0.5 / 2, 0.5 * (1 - 1 / 4), 0.5 * (1 - 2 / 4), 0.5 * (1 - 3 / 4)]),
        ("cosine", 2, [0.5 / 2, 0.25 * (1 + 0.5**0.5), 0.25, 0.25 * (1 - 0.5**0.5)]),
        ("constant", 8, [0.5 / 8, 1.0 / 8, 1.5 / 8, 2.0 / 8]),
    ],
)
def test_the_learning_rate_follows_its_schedule_and_warms_up(
    schedule: str, warmup_steps: int, rates: list[float]
) -> None:
    config = TrainConfig(
        steps=4,
        batch_size=1,
        shards=1,
        learning_rate=0.5,
        schedule=schedule,
        warmup_steps=warmup_steps,
    )

    assert [learning_rate(config, step) for step in range(4)] == pytest.approx(rates, rel=1e-15)


def test_the_linear_schedule_is_that_of_microgpt_bit_for_bit() -> None:
    config = TrainConfig(steps=1000, batch_size=1, shards=1)

    rates = [learning_rate(config, step) for step in range(1000)]

    assert rates == [0.01 * (1 - step / 1000) for step in range(1000)]


def test_no_schedule_ever_stops_or_turns_around() -> None:
    for schedule in ("linear", "cosine", "constant"):
        config = TrainConfig(steps=50, batch_size=1, shards=1, schedule=schedule, warmup_steps=5)

        rates = [learning_rate(config, step) for step in range(50)]

        assert all(0 < rate <= 0.01 and math.isfinite(rate) for rate in rates)
        assert rates[4:] == sorted(rates[4:], reverse=True)
