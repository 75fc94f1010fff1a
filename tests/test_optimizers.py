"""Optimizers take PyTorch's steps on the flat vector, for one network or an ensemble with its own learning rates."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import ORACLES, RATE, gradient

from xpnet import NeuralNetwork
from xpnet.core.regularization import regularized
from xpnet.optimizers import OPTIMIZERS, adam, adamw, rmsprop, sgd

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def test_every_optimizer_has_an_oracle():
    assert ORACLES["optimizers"].keys() == OPTIMIZERS.keys()


@every_optimizer
def test_a_hundred_steps_equal_pytorchs(name, xp, backend, array, dtype):
    """The gradients are those at PyTorch's points, so that rounding errors in single precision do not accumulate."""
    optimizer, path = OPTIMIZERS[name], np.asarray(ORACLES["optimizers"][name])
    if optimizer.weight_decay:
        optimizer = regularized(optimizer, array(np.ones(5)) > 0, weight_decay=optimizer.weight_decay)
    theta = array(np.ones(5))
    state = optimizer.init(xp, theta)
    before = np.ones(5)
    for step, expected in enumerate(path):
        dtheta = array(gradient(before, step))
        theta, state = optimizer.update(xp, theta, dtheta, state, array(RATE))
        tolerance = 1e-10 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(backend.to_numpy(theta), expected, rtol=tolerance, atol=tolerance)
        before = expected


@every_optimizer
def test_every_network_may_have_its_own_learning_rate(name, xp, array, backend, assert_close, rng):
    optimizer = OPTIMIZERS[name]
    thetas, rates = rng.standard_normal((3, 7)), np.array([[0.1], [0.2], [0.01]])
    gradients = rng.standard_normal((4, 3, 7))

    def run(theta, gradients, rate):
        theta, state = array(theta), optimizer.init(xp, array(theta))
        for dtheta in gradients:
            theta, state = optimizer.update(xp, theta, array(dtheta), state, array(rate))
        return theta

    ensemble = run(thetas, gradients, rates)
    individual = [backend.to_numpy(run(thetas[e], gradients[:, e], rates[e, 0])) for e in range(3)]
    assert_close(ensemble, np.stack(individual))


@every_optimizer
def test_every_optimizer_trains_a_network(name, backend, dtype, rng):
    X = rng.standard_normal((30, 2))
    y = 1 / (1 + np.exp(-X.sum(axis=1)))
    network = NeuralNetwork([2, 8, 1], optimizer=name, device=backend, dtype=dtype, seed=0)
    rate = {"sgd": 2.0, "momentum": 0.2, "nesterov": 0.2}.get(name, 0.02)
    network.train(X, y, learning_rate=rate, epochs=30, batch_size=10, verbose=False)
    assert network.epoch_loss[-1] < 0.5 * network.epoch_loss[0]


def test_adamw_has_its_default_weight_decay_unless_another_is_given(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)

    def trained(**settings):
        network = NeuralNetwork([2, 3, 1], seed=0, **settings)
        network.train(X, y, 0.1, epochs=5, verbose=False)
        return network

    default, given = trained(optimizer="adamw"), trained(optimizer="adam", weight_decay=0.01)
    np.testing.assert_array_equal(default.theta, given.theta)
    assert default.weight_decay == 0.01
    assert trained(optimizer=adamw(weight_decay=0.3)).weight_decay == 0.3
    none = trained(optimizer="adamw", weight_decay=0.0)
    np.testing.assert_array_equal(none.theta, trained(optimizer="adam").theta)


@pytest.mark.parametrize(("make", "says"), [
    (lambda: sgd(momentum=1.0), "momentum must be below 1, got 1.0"),
    (lambda: sgd(momentum=-0.1), "momentum must be 0 or a positive number, finite in float64, got -0.1"),
    (lambda: sgd(nesterov=True), "momentum must be above 0 for nesterov=True"),
    (lambda: rmsprop(alpha=1.5), "alpha must be below 1"),
    (lambda: rmsprop(eps=0.0), "eps must be a positive"),
    (lambda: adam(betas=(0.5, -0.9)), "betas must be 0 or a positive"),
    (lambda: adam(eps=1e-60), "eps must be a positive number, finite in float32"),
])  # fmt: skip
def test_invalid_settings_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.99, 0.999)])
def test_betas_must_be_two_numbers(betas):
    with pytest.raises(TypeError, match="betas must be two numbers"):
        adam(betas=betas)


def test_adam_without_momentum_follows_the_sign_of_the_gradient(xp, array, assert_close):
    optimizer = adam(betas=(0.0, 0.999))
    theta = array([1.0, 1.0])
    theta, _ = optimizer.update(xp, theta, array([3.0, -0.5]), optimizer.init(xp, theta), array(0.1))
    assert_close(theta, [0.9, 1.1], atol=1e-5)
