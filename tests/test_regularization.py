"""Weights are shrunk towards zero as in PyTorch, biases are not, and gradients are clipped to their maximum norm."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import ORACLES, RATE, gradient

from xpnet import Activation, NeuralNetwork
from xpnet.activations import ACTIVATIONS
from xpnet.core.parameters import Layout
from xpnet.core.propagation import backward, forward
from xpnet.core.regularization import apply_dropout, regularized
from xpnet.optimizers import OPTIMIZERS

SETTINGS = {"weight_decay": 0.1, "l2": 0.1, "clip_norm": 0.5}


@pytest.mark.parametrize("name", ORACLES["regularized"])
def test_a_hundred_steps_equal_pytorchs(name, xp, backend, array, dtype):
    optimizer, setting = name.split(", ")
    optimizer = regularized(OPTIMIZERS[optimizer], array(np.ones(5)) > 0, **{setting: SETTINGS[setting]})
    theta, before = array(np.ones(5)), np.ones(5)
    state = optimizer.init(xp, theta)
    # PyTorch adds 1e-6 to the norm that it divides by.
    tolerance = 1e-5 if setting == "clip_norm" else 1e-10 if dtype == "float64" else 1e-6
    for step, expected in enumerate(np.asarray(ORACLES["regularized"][name])):
        theta, state = optimizer.update(xp, theta, array(gradient(before, step)), state, array(RATE))
        np.testing.assert_allclose(backend.to_numpy(theta), expected, rtol=tolerance, atol=tolerance)
        before = expected


def test_l1_shrinks_large_and_small_weights_by_the_same_amount(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0, 1.0, 0.0]) > 0, l1=0.5)
    theta, _ = optimizer.update(xp, array([3.0, -0.1, 0.0, 9.0]), array([0.0, 0.0, 0.0, 0.0]), (), array(0.1))
    assert_close(theta, [2.95, -0.05, 0.0, 9.0])


def test_only_gradients_above_the_maximum_norm_are_clipped(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]) > 0, clip_norm=5.0)
    for dtheta, kept in (([3.0, 3.9], [3.0, 3.9]), ([0.0, 0.0], [0.0, 0.0]), ([30.0, 40.0], [3.0, 4.0])):
        theta, _ = optimizer.update(xp, array([0.0, 0.0]), array(dtheta), (), array(-1.0))
        assert_close(theta, kept)


def test_the_gradient_of_each_network_is_clipped_separately(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]) > 0, clip_norm=5.0)
    theta, _ = optimizer.update(xp, array(np.zeros((2, 2))), array([[30.0, 40.0], [0.3, 0.4]]), (), array(-1.0))
    assert_close(theta, [[3.0, 4.0], [0.3, 0.4]])


def test_the_weights_mask_is_true_for_weights_and_false_for_biases():
    layout = Layout([2, 3, 1])
    theta = layout.weights_mask(np)
    for name in layout.slots:
        assert np.all(layout.view(np, theta, name) == name.startswith("W"))


# ---- Dropout


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "softplus"])
def test_dropout_applies_the_same_mask_forward_and_backward(name, xp, array, assert_close, rng):
    """The mask changes the input of the next layer and the gradient of the layer before."""
    X, W1, W2, mask = (rng.standard_normal(shape) for shape in ((2, 4), (3, 2), (1, 3), (3, 4)))
    keep, activation = mask > -0.3, ACTIVATIONS[name]
    layers = [(array(W), array(np.zeros((W.shape[0], 1)))) for W in (W1, W2)]
    dropout, activations = [(array(mask) > -0.3, 0.4)], [activation, ACTIVATIONS["identity"]]
    output, cache = forward(xp, array(X), layers, activations, dropout)
    A = activation.forward(np, W1 @ X)
    assert_close(output, W2 @ (A * keep / 0.6))
    (dX, dW1, _), (_, dW2, _) = backward(xp, array(np.ones((1, 4))), cache, activations, dropout)
    assert_close(dW2, np.ones((1, 4)) @ (A * keep / 0.6).T)
    dZ = activation.backward(np, W2.T @ np.ones((1, 4)) * keep / 0.6, W1 @ X, A)
    assert_close(dW1, dZ @ X.T)
    assert_close(dX, W1.T @ dZ)


def test_a_layer_without_dropout_is_unchanged(xp, array):
    A = array([[1.0]])
    assert apply_dropout(xp, A, None, 0.0) is A


def test_dropout_drops_its_fraction_and_rescales_the_rest():
    """The output layer averages a hidden layer of ones: the mean output is the one without dropout."""
    X, y, seen = np.ones((2000, 1)), np.ones(2000), []
    recording = Activation(lambda xp, Z: (seen.append(np.array(Z)), Z)[1], lambda xp, dA, Z, A: dA)
    network = NeuralNetwork([1, 50, 1], activations=["relu", recording], dropout=0.3, seed=0)
    ones = {"W1": np.ones((50, 1)), "b1": np.zeros((50, 1)), "W2": np.ones((1, 50)) / 50, "b2": np.zeros((1, 1))}
    network.parameters = ones
    network.train(X, y, 1e-9, epochs=1, verbose=False, batch_size=None)
    outputs = seen[-1].ravel()
    assert np.mean(outputs) == pytest.approx(1.0, abs=0.005)
    assert np.std(outputs) == pytest.approx(np.sqrt(0.3 / 0.7 / 50), rel=0.05)
    assert network.predict(X[:3]) == pytest.approx(1.0)


@pytest.mark.parametrize("rates", [0.5, [0.5, 0.0], [0.0, 0.3]], ids=str)
@pytest.mark.not_numpy
def test_masks_are_the_same_on_every_backend(rates, backend, dtype, rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    settings = {"dropout": rates, "dtype": dtype, "seed": 3}
    there, host = (NeuralNetwork([2, 6, 5, 1], device=device, **settings) for device in (backend, "cpu"))
    for network in (there, host):
        network.train(X, y, 0.5, epochs=3, verbose=False, batch_size=2)
    np.testing.assert_allclose(backend.to_numpy(there.theta), host.theta, rtol=1e-4)
    plain = NeuralNetwork([2, 6, 5, 1], seed=3, dtype=dtype)
    plain.train(X, y, 0.5, epochs=3, verbose=False, batch_size=2)
    assert not np.array_equal(host.theta, plain.theta)


def test_the_gradient_with_dropout_is_that_of_the_network_without_the_dropped_units(backend, dtype, array, rng):
    """The weights into and out of a dropped unit do not change."""
    X, y, keep = rng.standard_normal((1, 2)), rng.random(1), 0.5
    network = NeuralNetwork([2, 8, 1], dropout=keep, device=backend, dtype=dtype, seed=0)
    before = {name: np.array(backend.to_numpy(value)) for name, value in network.parameters.items()}
    network.train(array(X), array(y), 0.5, epochs=1, verbose=False)
    moved = {name: np.array(backend.to_numpy(network.parameters[name])) != before[name] for name in before}
    out = moved["W2"][0]
    assert 0 < out.sum() < 8
    assert not moved["W1"][~out].any()
    assert not moved["b1"][~out].any()


@pytest.mark.parametrize("setting", ["weight_decay", "l2", "l1"])
def test_regularization_shrinks_weights_and_not_biases(setting, backend, dtype):
    """If the gradient of the loss is zero, the weights shrink and the biases do not change."""
    network = NeuralNetwork(
        [1, 3, 1], activations=["relu", "identity"], device=backend, dtype=dtype, seed=0, **{setting: 0.1}
    )
    before = {name: backend.to_numpy(value).copy() for name, value in network.parameters.items()}
    X = np.linspace(-1, 1, 5)
    y = network.predict(X)
    network.train(X, y, 0.01, epochs=1, verbose=False, batch_size=None)
    after = {name: backend.to_numpy(value) for name, value in network.parameters.items()}
    shrunk = np.abs(before["W1"]) - np.abs(after["W1"])
    expected = 0.01 * 0.1 * (1.0 if setting == "l1" else np.abs(before["W1"]))
    np.testing.assert_allclose(shrunk, expected * np.ones_like(shrunk), rtol=1e-2)
    np.testing.assert_allclose(after["b1"], before["b1"], rtol=1e-5)


def test_the_single_steps_regularize_like_training(rng):
    X, y = rng.standard_normal((6, 2)), rng.random(6)
    options = {"optimizer": "momentum", "weight_decay": 0.1, "l1": 0.01, "clip_norm": 0.01, "seed": 0}
    trained, by_hand = NeuralNetwork([2, 3, 1], **options), NeuralNetwork([2, 3, 1], **options)
    trained.train(X, y, 0.5, epochs=3, verbose=False, batch_size=None)
    for _ in range(3):
        by_hand.update_parameters(by_hand.backward_pass(y, by_hand.deep_forward(X.T)), 0.5)
    np.testing.assert_allclose(trained.theta, by_hand.theta, rtol=1e-12)


@pytest.mark.parametrize("name", ["weight_decay", "l2", "l1", "clip_norm"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_invalid_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be (0 or )?a positive number, finite"):
        NeuralNetwork([1, 1], **{name: value})


def test_a_maximum_norm_of_zero_is_refused():
    with pytest.raises(ValueError, match="clip_norm must be a positive"):
        NeuralNetwork([1, 1], clip_norm=0.0)


def test_a_gradient_whose_square_overflows_is_clipped_too(xp, backend, dtype, array, assert_close):
    huge = 1e30 if dtype == "float32" else 1e200
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]) > 0, clip_norm=5.0)
    theta, _ = optimizer.update(xp, array([0.0, 0.0]), array([3 * huge, 4 * huge]), (), array(-1.0))
    assert_close(theta, [3.0, 4.0])
