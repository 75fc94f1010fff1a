"""Weights are shrunk towards zero as in PyTorch, biases are not, and gradients are clipped to their maximum norm."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from oracles import ORACLES, RATE, gradient
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor

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


# ---- alpha: the penalty on the total loss of a batch, as in scikit-learn

ALPHA_X, ALPHA_Y = np.random.default_rng(0).standard_normal((7, 3)), np.random.default_rng(1).standard_normal(7)
WEIGHTS = {"without weights": None, "with weights": np.array([0.0, 3.0, 1.0, 0.5, 2.0, 1.0, 4.0])}
every_weighting = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)


def scikit_learns(alpha, weight, solver):
    """Return the loss curve of scikit-learn's network, its parameters after three epochs, and before."""
    settings = {"solver": solver, "alpha": alpha, "activation": "tanh", "random_state": 0, "max_iter": 3}
    settings |= {"batch_size": 3, "shuffle": False, "momentum": 0.0, "learning_rate_init": 0.1, "tol": 0.0}
    model = MLPRegressor(hidden_layer_sizes=(4,), warm_start=True, **settings)
    with warnings.catch_warnings(action="ignore"):
        start = clone(model).set_params(learning_rate_init=1e-300, solver="sgd").fit(ALPHA_X, ALPHA_Y)
        model.fit(ALPHA_X, ALPHA_Y, weight)
    vectors = [
        np.concatenate([array.T.ravel() for pair in zip(each.coefs_, each.intercepts_, strict=True) for array in pair])
        for each in (model, start)
    ]
    return model, *vectors


def network_from(theta, backend, **settings):
    network = NeuralNetwork([3, 4, 1], activations=["tanh", "identity"], device=backend, **settings)
    layout = network.parameters.layout
    shape = (*theta.shape[:-1], -1, 1)
    network.parameters = {
        name: layout.view(np, theta, name) if name[0] == "W" else layout.view(np, theta, name).reshape(shape)
        for name in layout.slots
    }
    return network


@pytest.mark.float64
@every_weighting
@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
def test_training_with_alpha_equals_scikit_learns(alpha, weight, backend, array):
    model, expected, start = scikit_learns(alpha, weight, "sgd")
    network = network_from(start, backend, alpha=alpha)
    weight = None if weight is None else array(weight)
    network.train(array(ALPHA_X), array(ALPHA_Y), 0.1, 3, verbose=False, batch_size=3, sample_weight=weight)
    np.testing.assert_allclose(backend.to_numpy(network.theta), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(network.history["loss"], model.loss_curve_, rtol=1e-12)


@pytest.mark.float64
@every_weighting
def test_the_networks_of_an_ensemble_have_alphas_of_their_own(weight, backend, array):
    alphas = [0.0, 0.1, 3.0]
    network = network_from(np.tile(scikit_learns(0.0, weight, "sgd")[2], (3, 1)), backend, alpha=alphas, ensemble=3)
    own = None if weight is None else array(weight)
    network.train(array(ALPHA_X), array(ALPHA_Y), 0.1, 3, verbose=False, batch_size=3, sample_weight=own)
    expected = [scikit_learns(alpha, weight, "sgd")[1] for alpha in alphas]
    np.testing.assert_allclose(backend.to_numpy(network.theta), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.float64
@every_weighting
def test_lbfgs_with_alpha_equals_scikit_learns(weight, backend, array):
    model, expected, start = scikit_learns(0.1, weight, "lbfgs")
    network = network_from(start, backend, alpha=0.1)
    weight = None if weight is None else array(weight)
    options = {"gradient_tol": 0.0, "loss_tol": 2.2e-9, "max_evaluations": 15000, "sample_weight": weight}
    result = network.train_lbfgs(array(ALPHA_X), array(ALPHA_Y), 3, verbose=False, **options)
    assert result.nit == 3
    assert result.fun == pytest.approx(model.loss_, rel=1e-12)
    np.testing.assert_allclose(backend.to_numpy(network.theta), expected, rtol=1e-9)


def test_alpha_is_refused_with_the_same_penalty_and_in_single_updates():
    with pytest.raises(ValueError, match="l2 must be 0 with alpha"):
        NeuralNetwork(alpha=0.1, l2=0.1)
    network = NeuralNetwork([1, 3, 1], alpha=0.1, seed=0)
    grads = network.backward_pass(np.ones((1, 1)), network.deep_forward(np.zeros((1, 1))))
    with pytest.raises(ValueError, match="alpha must be None for single updates"):
        network.update_parameters(grads, 0.1)


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
