"""The flat parameter vector: its order, its names, its bytes."""

import random
from array import array

import pytest

from engine.config import ModelConfig
from engine.params import (
    Matrix,
    as_matrices,
    from_bytes,
    initialise,
    layout_of,
    to_bytes,
    weights_sha256,
)

pytestmark = pytest.mark.unit


def test_the_flat_order_is_that_of_microgpt() -> None:
    layout = layout_of(ModelConfig(vocab_size=27))

    assert layout == (
        Matrix("wte", 27, 16, 0),
        Matrix("wpe", 16, 16, 432),
        Matrix("lm_head", 27, 16, 688),
        Matrix("layer0.attn_wq", 16, 16, 1120),
        Matrix("layer0.attn_wk", 16, 16, 1376),
        Matrix("layer0.attn_wv", 16, 16, 1632),
        Matrix("layer0.attn_wo", 16, 16, 1888),
        Matrix("layer0.mlp_fc1", 64, 16, 2144),
        Matrix("layer0.mlp_fc2", 16, 64, 3168),
    )


def test_the_layers_follow_each_other() -> None:
    names = [matrix.name for matrix in layout_of(ModelConfig(vocab_size=3, n_layer=2))]

    assert names[3:9] == [name.replace("layer1", "layer0") for name in names[9:]]
    assert names[9] == "layer1.attn_wq"


def test_matrices_are_read_row_by_row() -> None:
    layout = (Matrix("left", 2, 3, 0), Matrix("right", 1, 2, 6))

    assert as_matrices(layout, [0, 1, 2, 3, 4, 5, 6, 7]) == {
        "left": [[0, 1, 2], [3, 4, 5]],
        "right": [[6, 7]],
    }


def test_every_parameter_stands_in_exactly_one_matrix() -> None:
    config = ModelConfig(vocab_size=5, n_layer=2, n_embd=4, n_head=2, block_size=3)
    flat = list(range(config.num_params))

    matrices = as_matrices(layout_of(config), flat)

    assert [index for rows in matrices.values() for row in rows for index in row] == flat


def test_fresh_parameters_are_drawn_in_flat_order_with_a_deviation_of_0_08() -> None:
    config = ModelConfig(vocab_size=3, n_embd=2, n_head=1, block_size=1)
    expected = random.Random(5)

    params = initialise(config, random.Random(5))

    assert list(params) == [expected.gauss(0, 0.08) for _ in range(config.num_params)]


def test_a_vector_travels_as_little_endian_float64() -> None:
    assert to_bytes(array("d", [1.0, -2.5])) == bytes.fromhex("000000000000f03f 00000000000004c0")


def test_a_vector_comes_back_from_its_bytes_bit_for_bit() -> None:
    vector = array("d", [0.1, -0.0, 5e-324, float("inf"), float("nan")])

    assert from_bytes(to_bytes(vector)).tobytes() == vector.tobytes()


def test_bytes_that_are_no_whole_number_of_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        from_bytes(bytes(15))


def test_the_digest_is_the_sha256_of_the_bytes() -> None:
    assert weights_sha256(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_changed_last_bit_changes_the_digest() -> None:
    one, other = to_bytes(array("d", [1.0])), to_bytes(array("d", [1.0 + 2**-52]))

    assert weights_sha256(one) != weights_sha256(other)
