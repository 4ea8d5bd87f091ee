"""The forward pass: the same bits for both kinds of number, right slopes, and sums in order."""

import math
import random

import pytest

from engine.config import ModelConfig
from engine.eager import document_gradient
from engine.model import (
    Cache,
    attention,
    divide,
    document_loss,
    forward,
    layernorm,
    linear,
    mlp,
    rmsnorm,
    softmax,
)
from engine.params import as_matrices, layout_of
from engine.scalar import FLOATS, VALUES
from engine.value import Value

pytestmark = pytest.mark.unit

BLOCK_SIZE = 5

DOCUMENTS = [  # BOS is 3
    pytest.param([3, 1], id="1 position"),
    pytest.param([3, 3], id="an empty document"),
    pytest.param([3, 1, 0, 3], id="3 positions"),
    pytest.param([3, 0, 1, 2, 2, 1], id="block_size positions"),
]


KINDS = pytest.mark.parametrize(
    ("activation", "norm"), [("relu", "rms"), ("relu2", "rms"), ("relu", "layer")]
)


def small_model(activation: str, norm: str = "rms") -> ModelConfig:
    return ModelConfig(
        vocab_size=4,
        n_layer=2,
        n_embd=4,
        n_head=2,
        block_size=BLOCK_SIZE,
        activation=activation,
        norm=norm,
    )


def random_params(config: ModelConfig) -> list[float]:
    rng = random.Random(7)
    return [rng.gauss(0, 0.5) for _ in range(config.num_params)]


def loss_in_floats(config: ModelConfig, params: list[float], tokens: list[int]) -> float:
    loss: float = document_loss(FLOATS, config, as_matrices(layout_of(config), params), tokens)
    return loss


@KINDS
@pytest.mark.parametrize("tokens", DOCUMENTS)
def test_values_and_floats_give_the_same_loss_bits(
    activation: str, norm: str, tokens: list[int]
) -> None:
    config = small_model(activation, norm)
    params = random_params(config)

    loss = document_gradient(config, params, tokens).loss

    assert loss.hex() == loss_in_floats(config, params, tokens).hex()


@KINDS
@pytest.mark.parametrize("tokens", DOCUMENTS)
def test_gradients_are_those_of_central_differences(
    activation: str, norm: str, tokens: list[int]
) -> None:
    config = small_model(activation, norm)
    params = random_params(config)

    grad = document_gradient(config, params, tokens).grad

    slopes = []
    for i in range(config.num_params):
        above, below = list(params), list(params)
        above[i] += 1e-5
        below[i] -= 1e-5
        rise = loss_in_floats(config, above, tokens) - loss_in_floats(config, below, tokens)
        slopes.append(rise / 2e-5)
    assert list(grad) == pytest.approx(slopes, rel=1e-5, abs=1e-7)


def test_a_dot_adds_its_products_from_left_to_right() -> None:
    x, ones = [1e16, 1.0, -1e16, 1.0], [1.0, 1.0, 1.0, 1.0]

    (result,) = linear(x, [ones])

    assert result == 1.0  # exactly summed it would be 2.0, from right to left 0.0


def test_the_exponentials_of_a_softmax_are_added_from_left_to_right() -> None:
    tiny = math.log(1e-16)  # too small to move 1.0, but two of them together are not

    one_first = softmax(FLOATS, [0.0, tiny, tiny])
    one_last = softmax(FLOATS, [tiny, tiny, 0.0])

    assert one_first[0] == 1.0
    assert one_last[2] < 1.0


@pytest.mark.parametrize("tokens", [[3, 1, 0, 3], [3, 1, 1, 3]])  # each rounds another way
def test_the_losses_of_a_document_are_added_and_then_scaled_once(tokens: list[int]) -> None:
    config = small_model("relu")
    matrices = as_matrices(layout_of(config), random_params(config))
    cache = Cache(config)
    losses = []
    for position in range(3):
        logits = forward(FLOATS, config, matrices, cache, tokens[position], position)
        losses.append(-math.log(softmax(FLOATS, logits)[tokens[position + 1]]))

    loss = document_loss(FLOATS, config, matrices, tokens)

    assert loss == (losses[0] + losses[1] + losses[2]) * (1 / 3)


def test_a_product_of_weight_and_input_has_the_weight_as_its_first_child() -> None:
    weight, x = Value(2.0), Value(3.0)

    (total,) = linear([x], [[weight]])

    product, zero = total.children
    assert product.children == (weight, x)
    assert (zero.data, zero.children) == (0, ())


def test_a_sum_takes_its_running_total_as_its_first_child() -> None:
    (total,) = linear([Value(3.0), Value(5.0)], [[Value(2.0), Value(4.0)]])

    assert [child.data for child in total.children] == [6.0, 20.0]
    assert [child.data for child in total.children[0].children] == [6.0, 0]


def test_every_probability_of_a_softmax_divides_by_a_power_of_its_own() -> None:
    first, second = softmax(VALUES, [Value(0.0), Value(1.0)])

    assert first.children[1] is not second.children[1]
    assert first.children[1].children == second.children[1].children


def test_the_shift_of_a_softmax_is_a_plain_number() -> None:
    assert VALUES.largest([Value(1.0), Value(2.0)]) == 2.0  # a Value equals only itself


def test_a_softmax_has_the_gradient_of_its_formula() -> None:
    logits = [Value(1.0), Value(2.0)]

    softmax(VALUES, logits)[0].backward()

    p, q = softmax(FLOATS, [1.0, 2.0])
    assert [logit.grad for logit in logits] == pytest.approx([p * q, -p * q], rel=1e-12)


def test_a_softmax_of_huge_logits_does_not_overflow() -> None:
    assert softmax(FLOATS, [1e5, 0.0, 1e5]) == [0.5, 0.0, 0.5]


def test_a_division_is_a_product_with_a_power() -> None:
    assert divide(3.0, 5.0) == 3.0 * 5.0**-1 != 3.0 / 5.0


def test_an_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    scale = (12.5 + 1e-5) ** -0.5

    assert rmsnorm([3.0, 4.0]) == [3.0 * scale, 4.0 * scale]


def test_an_rms_norm_of_a_zero_vector_is_the_zero_vector() -> None:
    assert rmsnorm([0.0, 0.0]) == [0.0, 0.0]


def test_a_layer_norm_takes_the_mean_away_and_divides_by_the_root_of_the_variance() -> None:
    scale = (1.5**2 + 1e-5) ** -0.5

    assert layernorm([3.0, 6.0]) == [-1.5 * scale, 1.5 * scale]


def test_the_mean_of_a_layer_norm_is_added_from_left_to_right_and_divided_once() -> None:
    x = [0.1, 0.2, 0.3, 1e16, 1.0, -1e16]
    mean = (0.1 + 0.2 + 0.3 + 1e16 + 1.0 - 1e16) * 6**-1

    assert layernorm(x) == rmsnorm([element - mean for element in x])


def test_a_layer_norm_of_equal_numbers_is_the_zero_vector() -> None:
    assert layernorm([7.5, 7.5]) == [0.0, 0.0]


@pytest.mark.parametrize(("activation", "bent"), [("relu", 2.0), ("relu2", 4.0)])
def test_an_mlp_drops_what_is_negative_and_squares_the_rest_under_relu2(
    activation: str, bent: float
) -> None:
    config = ModelConfig(vocab_size=3, n_embd=1, n_head=1, activation=activation)
    params = {
        "layer0.mlp_fc1": [[1.0], [-1.0], [0.0], [0.0]],
        "layer0.mlp_fc2": [[10.0, 100.0, 0.0, 0.0]],
    }

    assert mlp(FLOATS, config, params, "layer0", [2.0]) == [10 * bent]
    assert mlp(FLOATS, config, params, "layer0", [-2.0]) == [100 * bent]


def test_each_head_looks_with_its_own_slice_at_all_positions_so_far() -> None:
    config = ModelConfig(vocab_size=3, n_embd=4, n_head=2)
    identity = [[float(row == column) for column in range(4)] for row in range(4)]
    params = {f"layer0.attn_{name}": identity for name in ("wq", "wk", "wv", "wo")}
    keys, values = [[0.0, 0.0, 2.0, 0.0]], [[5.0, 6.0, 7.0, 8.0]]
    x = [1.0, 2.0, 3.0, 0.0]

    out = attention(FLOATS, config, params, "layer0", x, keys, values)

    # scores of (position 0, this one), divided by the root of head_dim 2
    left = softmax(FLOATS, [0.0, (1.0 + 4.0) / 2**0.5])
    right = softmax(FLOATS, [(3.0 * 2.0) / 2**0.5, 9.0 / 2**0.5])
    assert out == pytest.approx(
        [
            left[0] * 5 + left[1] * 1,
            left[0] * 6 + left[1] * 2,
            right[0] * 7 + right[1] * 3,
            right[0] * 8,
        ],
        rel=1e-14,
    )


def test_attention_adds_this_position_to_the_cache() -> None:
    config = ModelConfig(vocab_size=3, n_embd=1, n_head=1)
    params = {
        "layer0.attn_wq": [[1.0]],
        "layer0.attn_wk": [[2.0]],
        "layer0.attn_wv": [[3.0]],
        "layer0.attn_wo": [[4.0]],
    }
    keys, values = [[0.5]], [[0.5]]

    attention(FLOATS, config, params, "layer0", [1.0], keys, values)

    assert (keys, values) == ([[0.5], [2.0]], [[0.5], [3.0]])


def test_a_model_one_number_wide_can_be_followed_by_hand() -> None:
    config = ModelConfig(vocab_size=3, n_embd=1, n_head=1, block_size=2)
    params = {
        "wte": [[0.1], [0.2], [0.3]],
        "wpe": [[0.4], [0.5]],
        "lm_head": [[1.0], [2.0], [-3.0]],
        "layer0.attn_wq": [[0.7]],
        "layer0.attn_wk": [[0.8]],
        "layer0.attn_wv": [[0.9]],
        "layer0.attn_wo": [[1.1]],
        "layer0.mlp_fc1": [[1.2], [-1.3], [1.4], [-1.5]],
        "layer0.mlp_fc2": [[0.6, 0.7, -0.8, 0.9]],
    }
    cache = Cache(config)

    first = forward(FLOATS, config, params, cache, 2, 0)
    second = forward(FLOATS, config, params, cache, 1, 1)

    def norm(x: float) -> float:
        return x / math.sqrt(x * x + 1e-5)

    def rest(x: float, attended: float) -> list[float]:
        x = x + 1.1 * attended
        x = x + (0.6 * 1.2 - 0.8 * 1.4) * norm(x)  # x is positive: fc1's other rows are dropped
        return [1.0 * x, 2.0 * x, -3.0 * x]

    x0, x1 = norm(0.3 + 0.4), norm(0.2 + 0.5)
    query, key0, key1 = 0.7 * norm(x1), 0.8 * norm(x0), 0.8 * norm(x1)
    e0, e1 = math.exp(query * key0), math.exp(query * key1)
    looked_up = (e0 * 0.9 * norm(x0) + e1 * 0.9 * norm(x1)) / (e0 + e1)
    assert first == pytest.approx(rest(x0, 0.9 * norm(x0)), rel=1e-12)
    assert second == pytest.approx(rest(x1, looked_up), rel=1e-12)


def test_a_layer_norm_stands_wherever_an_rms_norm_would() -> None:
    config = ModelConfig(
        vocab_size=3, n_layer=2, n_embd=2, n_head=1, block_size=1, activation="relu2", norm="layer"
    )
    columns = [[1.0, 0.0], [0.0, 1.0]]
    layer = {
        "attn_wq": columns,
        "attn_wk": columns,
        "attn_wv": columns,
        "attn_wo": [[1.0, 0.0], [0.0, 2.0]],  # so that what comes out has a mean
        "mlp_fc1": columns * 4,
        "mlp_fc2": [[1.0] * 8, [1.0, 0.0] * 4],
    }
    params = {
        "wte": [[5.0, 9.0], [0.0, 0.0], [0.0, 0.0]],
        "wpe": [[0.25, 0.5]],
        "lm_head": [*columns, [1.0, 1.0]],
        **{f"layer{i}.{name}": rows for i in range(2) for name, rows in layer.items()},
    }

    logits = forward(FLOATS, config, params, Cache(config), 0, 0)

    x, y = layernorm([5.25, 9.5])
    for _ in range(2):
        a, b = layernorm([x, y])
        x, y = x + a, y + 2 * b
        a, b = (max(0.0, h) ** 2 for h in layernorm([x, y]))
        x, y = x + 4 * a + 4 * b, y + 4 * a
    assert logits == pytest.approx([x, y, x + y], rel=1e-12)
