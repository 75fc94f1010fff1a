"""Weights are drawn to zero as PyTorch draws them, biases are left alone, and long gradients are cut."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import ORACLES, RATE, gradient

from xpnet import NeuralNetwork
from xpnet.optimizers import OPTIMIZERS
from xpnet.parameters import Layout
from xpnet.regularization import regularized

SETTINGS = {"weight_decay": 0.1, "l2": 0.1, "clip_norm": 0.5}


@pytest.mark.parametrize("name", ORACLES["regularized"])
def test_a_hundred_steps_are_pytorchs(name, xp, backend, array, dtype):
    optimizer, setting = name.split(", ")
    optimizer = regularized(OPTIMIZERS[optimizer], array(np.ones(5)), **{setting: SETTINGS[setting]})
    theta, before = array(np.ones(5)), np.ones(5)
    memory = optimizer.init(xp, theta)
    # PyTorch adds a millionth to the length that it divides by.
    tolerance = 1e-5 if setting == "clip_norm" else 1e-10 if dtype == "float64" else 1e-6
    for step, expected in enumerate(np.asarray(ORACLES["regularized"][name])):
        theta, memory = optimizer.update(xp, theta, array(gradient(before, step)), memory, array(RATE))
        np.testing.assert_allclose(backend.to_numpy(theta), expected, rtol=tolerance, atol=tolerance)
        before = expected


def test_l1_draws_with_the_same_force_from_afar_and_near(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0, 1.0, 0.0]), l1=0.5)
    theta, _ = optimizer.update(xp, array([3.0, -0.1, 0.0, 9.0]), array([0.0, 0.0, 0.0, 0.0]), (), array(0.1))
    assert_close(theta, [2.95, -0.05, 0.0, 9.0])


def test_a_short_gradient_is_not_cut_and_one_of_zero_stays_zero(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]), clip_norm=5.0)
    for dtheta, kept in (([3.0, 3.9], [3.0, 3.9]), ([0.0, 0.0], [0.0, 0.0]), ([30.0, 40.0], [3.0, 4.0])):
        theta, _ = optimizer.update(xp, array([0.0, 0.0]), array(dtheta), (), array(-1.0))
        assert_close(theta, kept)


def test_every_network_of_an_ensemble_is_cut_on_its_own(xp, array, assert_close):
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]), clip_norm=5.0)
    theta, _ = optimizer.update(xp, array(np.zeros((2, 2))), array([[30.0, 40.0], [0.3, 0.4]]), (), array(-1.0))
    assert_close(theta, [[3.0, 4.0], [0.3, 0.4]])


def test_the_mask_tells_weights_from_biases():
    layout = Layout([2, 3, 1])
    theta = layout.weights_mask(np)
    for name in layout.slots:
        assert np.all(layout.view(np, theta, name) == (1.0 if name.startswith("W") else 0.0))


@pytest.mark.parametrize("setting", ["weight_decay", "l2", "l1"])
def test_a_network_keeps_its_weights_small_and_its_biases_as_they_are(setting, backend, dtype):
    """Where there is nothing to learn, the weights of the last layer shrink, and the biases do not move."""
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


def test_by_hand_it_is_the_same(rng):
    X, y = rng.standard_normal((6, 2)), rng.random(6)
    options = {"optimizer": "momentum", "weight_decay": 0.1, "l1": 0.01, "clip_norm": 0.01, "seed": 0}
    trained, by_hand = NeuralNetwork([2, 3, 1], **options), NeuralNetwork([2, 3, 1], **options)
    trained.train(X, y, 0.5, epochs=3, verbose=False, batch_size=None)
    for _ in range(3):
        by_hand.update_parameters(by_hand.backward_pass(y, by_hand.deep_forward(X.T)), 0.5)
    np.testing.assert_allclose(trained.theta, by_hand.theta, rtol=1e-12)


@pytest.mark.parametrize("name", ["weight_decay", "l2", "l1", "clip_norm"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive, finite number"):
        NeuralNetwork([1, 1], **{name: value})


def test_a_bound_of_zero_for_the_gradient_is_refused():
    with pytest.raises(ValueError, match="clip_norm must be a positive"):
        NeuralNetwork([1, 1], clip_norm=0.0)


def test_a_gradient_whose_square_overflows_is_cut_too(xp, backend, dtype, array, assert_close):
    great = 1e30 if dtype == "float32" else 1e200
    optimizer = regularized(OPTIMIZERS["sgd"], array([1.0, 1.0]), clip_norm=5.0)
    theta, _ = optimizer.update(xp, array([0.0, 0.0]), array([3 * great, 4 * great]), (), array(-1.0))
    assert_close(theta, [3.0, 4.0])
