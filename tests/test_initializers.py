"""Initial weights are drawn on the host, layer by layer, in the document's order.

"The document" is the notebook *Neural Network From Scratch* (see README).
"""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Activation, NeuralNetwork
from xpnet.backends import Stream, random_stream
from xpnet.initializers import INITIALIZERS, normal


def test_normal_draws_weights_then_biases():
    W, b = normal(0.1)(np.random.default_rng(5), 4, 3)
    again = np.random.default_rng(5)
    np.testing.assert_array_equal(W, again.standard_normal((4, 3)) * 0.1)
    np.testing.assert_array_equal(b, again.standard_normal((4, 1)) * 0.1)


def test_the_default_scale_is_the_documents(rng):
    W, b = INITIALIZERS["normal"](rng, 400, 300)
    assert abs(W.std() - 0.1) < 0.001
    assert abs(b.std() - 0.1) < 0.02
    assert W.dtype == b.dtype == np.float64


@pytest.mark.parametrize(("name", "variance"), [
    ("glorot_uniform", 2 / 700), ("glorot_normal", 2 / 700), ("he_uniform", 2 / 300), ("he_normal", 2 / 300),
    ("lecun_uniform", 1 / 300), ("lecun_normal", 1 / 300),
])  # fmt: skip
def test_the_other_initializers_have_their_variance_and_zero_biases(name, variance, rng):
    W, b = INITIALIZERS[name](rng, 400, 300)
    assert W.shape == (400, 300)
    assert W.var() == pytest.approx(variance, rel=0.02)
    assert abs(W.mean()) < 0.001
    assert b.tolist() == [[0.0]] * 400
    if name.endswith("uniform"):
        assert np.abs(W).max() == pytest.approx(np.sqrt(3 * variance), rel=0.01)
    else:
        assert np.abs(W).max() > 3.5 * np.sqrt(variance)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_stream_gives_the_same_layer(name):
    one, other = (INITIALIZERS[name](np.random.default_rng(3), 4, 2) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    assert all(array.dtype == np.float64 for array in one)


# The settings of a network, and the initializer of each of its layers.
EXPECTED_INITIALIZERS = [
    ({}, ["normal", "normal"]),
    ({"activations": ["relu", "sigmoid"]}, ["normal", "normal"]),
    ({"layer_list": [2, 1]}, ["normal"]),
    ({"activations": ["relu", "identity"]}, ["he_normal", "glorot_uniform"]),
    ({"loss": "binary_crossentropy"}, ["he_normal", "glorot_uniform"]),
    ({"layer_list": [2, 3, 2], "loss": "categorical_crossentropy"}, ["he_normal", "glorot_uniform"]),
    ({"activations": ["sigmoid", "sigmoid"]}, ["glorot_uniform", "glorot_uniform"]),
    ({"activations": ["tanh", "softplus"]}, ["glorot_uniform", "he_normal"]),
    *(({"activations": [name, "tanh"]}, ["he_normal", "glorot_uniform"])
      for name in ("leaky_relu", "elu", "gelu", "silu")),
    ({"activations": [Activation(lambda xp, Z: Z, lambda xp, dA, Z, A: dA), "relu"]}, ["glorot_uniform", "he_normal"]),
    ({"activations": ["relu", "identity"], "initializer": "normal"}, ["normal", "normal"]),
    ({"initializer": ["lecun_normal", "normal"]}, ["lecun_normal", "normal"]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "drawn"), EXPECTED_INITIALIZERS)
def test_the_default_initializer_follows_from_the_activation_except_in_the_documents_network(settings, drawn):
    network = NeuralNetwork(**{"layer_list": [2, 3, 1], **settings}, seed=0)
    assert network.settings["initializer"] == drawn
    assert network.initializer == [INITIALIZERS[name] for name in drawn]
    stream, parts = random_stream(0, Stream.WEIGHTS), []
    for name, W in zip(drawn, [value for key, value in network.parameters.items() if key[0] == "W"], strict=True):
        parts += [array.ravel() for array in INITIALIZERS[name](stream, *W.shape)]
    np.testing.assert_array_equal(network.theta, np.concatenate(parts))


def test_the_default_initialization_learns_xor():
    """The networks are 40 of the guide's example."""
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    learned = []
    for initializer in ("normal", None):
        networks = NeuralNetwork([2, 4, 1], activations=["sigmoid"] * 2, initializer=initializer, ensemble=40, seed=0)
        networks.train(X, y, 2.0, epochs=3000, batch_size=None, verbose=False)
        learned.append(int((networks.predict_classes(X) == y).all(axis=1).sum()))
    assert learned == [4, 39]


def test_other_layer_sizes_use_the_first_and_the_last_initializer(rng):
    network = NeuralNetwork([2, 3, 1], activations=["relu", "identity"], seed=0)
    drawn = network.initialize_weights_deep([3, 400, 300, 1])
    assert drawn["W2"].var() == pytest.approx(2 / 400, rel=0.05)
    assert np.abs(drawn["W3"]).max() <= np.sqrt(6 / 301)
