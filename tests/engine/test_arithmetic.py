"""The graph of a document, node by node, against microgpt's arithmetic written straight down.

Losses and slopes alone do not see everything: a second layer that reads the weights of the first
has consistent gradients too, and swapped operands change only the order of later additions.
"""

import random
from collections.abc import Sequence

import pytest

from engine.config import ModelConfig
from engine.model import document_loss
from engine.params import as_matrices, layout_of
from engine.scalar import VALUES
from engine.value import Value, depth_first

pytestmark = pytest.mark.unit

BOS = 4


def model_of(n_layer: int, activation: str) -> ModelConfig:
    return ModelConfig(
        vocab_size=5, n_layer=n_layer, n_embd=4, n_head=2, block_size=4, activation=activation
    )


def random_leaves(config: ModelConfig) -> list[Value]:
    rng = random.Random(7)
    return [Value(rng.gauss(0, 0.5)) for _ in range(config.num_params)]


def shape_of(loss: Value) -> list[tuple[float, tuple[int, ...], tuple[float, ...]]]:
    """Every node in the order of the walk: its number, where its children stand, its slopes."""
    order = depth_first(loss)
    place = {node: index for index, node in enumerate(order)}
    return [
        (node.data, tuple(place[child] for child in node.children), node.local_grads)
        for node in order
    ]


def dot(weights: Sequence[Value], x: Sequence[Value]) -> Value:
    total = weights[0] * x[0] + 0
    for i in range(1, len(x)):
        total = total + weights[i] * x[i]
    return total


def norm(x: list[Value]) -> list[Value]:
    mean_square = dot(x, x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [number * scale for number in x]


def probabilities(z: list[Value]) -> list[Value]:
    largest = max(number.data for number in z)
    e = [(number - largest).exp() for number in z]
    total = e[0] + 0
    for number in e[1:]:
        total = total + number
    return [number / total for number in e]


def straight_loss(config: ModelConfig, leaves: list[Value], tokens: list[int]) -> Value:
    flat = iter(leaves)
    width, depth = config.n_embd, config.n_embd // config.n_head

    def matrix(rows: int, columns: int) -> list[list[Value]]:
        return [[next(flat) for _ in range(columns)] for _ in range(rows)]

    wte = matrix(config.vocab_size, width)
    wpe = matrix(config.block_size, width)
    lm_head = matrix(config.vocab_size, width)
    layers = []
    for _ in range(config.n_layer):
        wq, wk, wv, wo = (matrix(width, width) for _ in range(4))
        layers.append((wq, wk, wv, wo, matrix(4 * width, width), matrix(width, 4 * width)))
    cached_keys: list[list[list[Value]]] = [[] for _ in layers]
    cached_values: list[list[list[Value]]] = [[] for _ in layers]
    losses = []
    for t in range(len(tokens) - 1):
        x = norm([wte[tokens[t]][i] + wpe[t][i] for i in range(width)])
        for layer, (wq, wk, wv, wo, fc1, fc2) in enumerate(layers):
            r, x = x, norm(x)
            q = [dot(row, x) for row in wq]
            cached_keys[layer].append([dot(row, x) for row in wk])
            cached_values[layer].append([dot(row, x) for row in wv])
            out = []
            for head in range(config.n_head):
                cut = slice(head * depth, (head + 1) * depth)
                scores = [dot(q[cut], k[cut]) / depth**0.5 for k in cached_keys[layer]]
                p = probabilities(scores)
                for j in range(head * depth, (head + 1) * depth):
                    out.append(dot(p, [v[j] for v in cached_values[layer]]))
            x = [dot(wo[i], out) + r[i] for i in range(width)]
            r, x = x, norm(x)
            hidden = [dot(row, x).relu() for row in fc1]
            if config.activation == "relu2":
                hidden = [number**2 for number in hidden]
            x = [dot(fc2[i], hidden) + r[i] for i in range(width)]
        probability = probabilities([dot(row, x) for row in lm_head])[tokens[t + 1]]
        losses.append(-probability.log())
    total = losses[0] + 0
    for loss in losses[1:]:
        total = total + loss
    return total * (1 / len(losses))


@pytest.mark.parametrize("activation", ["relu", "relu2"])
@pytest.mark.parametrize("n_layer", [1, 2, 3])
@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param([BOS, BOS], id="1 position"),
        pytest.param([BOS, 1, 1, 3, 0], id="block_size positions"),
    ],
)
def test_the_graph_of_a_document_is_that_of_microgpt_node_by_node(
    tokens: list[int], n_layer: int, activation: str
) -> None:
    config = model_of(n_layer, activation)
    leaves = random_leaves(config)

    loss = document_loss(VALUES, config, as_matrices(layout_of(config), leaves), tokens)

    assert shape_of(loss) == shape_of(straight_loss(config, leaves, tokens))
