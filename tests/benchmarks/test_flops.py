"""The operations of a document are counted as a careful implementation would do them."""

import pytest

from benchmarks.flops import Counted, Tally, count_flops, mean_flops
from engine.config import ModelConfig
from engine.model import linear

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=5, n_embd=4, n_head=2, block_size=6)


def numbers(tally: Tally, count: int) -> list[Counted]:
    return [Counted(tally) for _ in range(count)]


def test_a_value_with_two_uses_costs_one_addition_on_the_way_back() -> None:
    tally = Tally()
    x, y, z = numbers(tally, 3)

    _ = x * y + x * z

    assert tally == Tally(forward=3, backward=4 + 1)


def test_a_matrix_times_a_vector_costs_twice_as_much_on_the_way_back() -> None:
    tally = Tally()
    rows, columns = 3, 4

    linear(numbers(tally, columns), [numbers(tally, columns) for _ in range(rows)])

    assert tally.forward == rows * (2 * columns - 1)
    assert tally.backward == 2 * rows * columns + (rows - 1) * columns


def test_the_first_position_and_the_next_ones_cost_ever_more() -> None:
    counts = [count_flops(CONFIG, [0] * (positions + 1)).forward for positions in (1, 2, 3)]

    assert counts[2] - counts[1] > counts[1] - counts[0] > 0


def test_the_mean_is_over_documents_not_over_lengths() -> None:
    short, long = [0, 1], [0, 1, 2, 3]
    one = mean_flops(CONFIG, [short])
    other = mean_flops(CONFIG, [long])

    assert mean_flops(CONFIG, [short, short, long]) == pytest.approx((2 * one + other) / 3)
