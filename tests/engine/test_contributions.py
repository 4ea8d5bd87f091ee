"""Where a gradient comes from: the labelled graph is eager's, and its contributions add up."""

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from engine.config import ModelConfig
from engine.contributions import DocumentGraph
from engine.eager import document_gradient
from engine.model import document_loss
from engine.params import as_matrices, initialise, layout_of
from engine.scalar import VALUES
from engine.value import Value, depth_first

pytestmark = pytest.mark.unit

CONFIG = ModelConfig(vocab_size=4, n_layer=2, n_embd=4, n_head=2, block_size=5)
SQUARED = replace(CONFIG, activation="relu2")
CENTRED = replace(CONFIG, norm="layer")
CONFIGS = pytest.mark.parametrize("config", [CONFIG, SQUARED, CENTRED], ids=["", "relu2", "layer"])
TOKENS = [3, 0, 1, 1, 3]  # four positions; token 2 never comes


def index_of(config: ModelConfig, name: str, row: int, column: int) -> int:
    (matrix,) = (matrix for matrix in layout_of(config) if matrix.name == name)
    return matrix.offset + row * matrix.columns + column


def graph_of(config: ModelConfig = CONFIG) -> DocumentGraph:
    return DocumentGraph(config, initialise(config, random.Random(1)), TOKENS)


GRAPH = graph_of()


@CONFIGS
def test_loss_and_gradient_have_the_bits_of_the_eager_engine(config: ModelConfig) -> None:
    graph = graph_of(config)

    eager = document_gradient(config, initialise(config, random.Random(1)), TOKENS)

    assert graph.loss == eager.loss
    assert graph.grad == eager.grad


@CONFIGS
def test_contributions_add_up_to_every_gradient_bit_for_bit(config: ModelConfig) -> None:
    graph = graph_of(config)

    for index, grad in enumerate(graph.grad):
        for step in graph.path_from(index)[:-1]:
            total = 0.0
            for contribution in step.contributions:
                total += contribution.value
            assert total == step.node.grad
        assert graph.path_from(index)[0].node.grad == grad


def test_a_contribution_is_the_local_derivative_times_the_gradient_of_its_node() -> None:
    path = GRAPH.path_from(index_of(CONFIG, "lm_head", 1, 2))

    for step in path:
        for contribution in step.contributions:
            assert contribution.value == contribution.local_grad * contribution.node.grad


def test_every_operation_of_the_graph_is_counted_once() -> None:
    leaves = [Value(param) for param in initialise(CONFIG, random.Random(1))]
    loss = document_loss(VALUES, CONFIG, as_matrices(layout_of(CONFIG), leaves), TOKENS)
    nodes = depth_first(loss)
    counts = Counter(GRAPH.counts())

    assert counts.total() == len(nodes)
    assert counts["param"] == len(set(nodes) & set(leaves))
    assert counts["log"] == 4
    assert counts["relu"] == 4 * 2 * 16
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_a_parameter_of_a_linear_layer_is_used_once_at_each_position() -> None:
    (parameter, *_) = GRAPH.path_from(index_of(CONFIG, "layer0.mlp_fc1", 3, 2))

    uses = [contribution.node for contribution in parameter.contributions]
    assert parameter.node.detail == "layer0.mlp_fc1[3][2]"
    assert {use.op for use in uses} == {"mul"}
    assert sorted(use.position for use in uses if use.position is not None) == [0, 1, 2, 3]
    assert {use.matrix for use in uses} == {"layer0.mlp_fc1"}


def test_an_embedding_is_used_where_its_token_comes_and_meets_the_position() -> None:
    (parameter, *_) = GRAPH.path_from(index_of(CONFIG, "wte", 1, 2))

    found = {
        (use.node.op, use.node.position, *(other.detail for other in use.others))
        for use in parameter.contributions
    }
    assert found == {("add", 2, "wpe[2][2]"), ("add", 3, "wpe[3][2]")}


def test_shares_are_parts_of_the_magnitude() -> None:
    (parameter, *_) = GRAPH.path_from(index_of(CONFIG, "wte", 1, 2))

    one, other = parameter.contributions
    magnitude = abs(one.value) + abs(other.value)
    assert (one.share, other.share) == (abs(one.value) / magnitude, abs(other.value) / magnitude)


def test_a_path_follows_the_largest_contributions_to_the_loss() -> None:
    path = GRAPH.path_from(index_of(CONFIG, "wte", 0, 0))

    for step, following in pairwise(path):
        assert abs(step.largest.value) == max(abs(c.value) for c in step.contributions)
        assert following.node == step.largest.node
    assert (path[-1].node.data, path[-1].node.grad) == (GRAPH.loss, 1.0)
    assert [step.node.op for step in path].count("log") == 1


def test_a_parameter_that_the_document_does_not_use_has_no_path() -> None:
    (parameter,) = GRAPH.path_from(index_of(CONFIG, "wte", 2, 0))

    assert (parameter.node.grad, parameter.contributions) == (0.0, ())


def test_nodes_are_labelled_with_their_position_and_the_mean_with_none() -> None:
    path = GRAPH.path_from(index_of(CONFIG, "wpe", 3, 0))

    positions = [step.node.position for step in path]
    assert positions == [None, *[3] * (len(path) - 3), None, None]  # leaf ... addition, mean


def test_the_loss_is_the_mean_over_the_positions() -> None:
    total = 0.0
    for loss, probability in zip(GRAPH.losses, GRAPH.probabilities, strict=True):
        assert loss == -math.log(probability)
        total += loss

    assert total * (1 / 4) == GRAPH.loss
