"""The gradient check accepts correct derivatives, and locates wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Activation, Loss, NeuralNetwork, gradient_check
from xpnet.activations import ACTIVATIONS
from xpnet.losses import LOSSES


@pytest.fixture
def data(rng):
    return rng.standard_normal((6, 3)), 0.1 + 0.8 * rng.random((6, 2))


@pytest.mark.float64
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_built_in_activation_passes(activation, backend, array, data):
    network = NeuralNetwork([3, 4, 2], activations=[activation, "sigmoid"], device=backend, seed=0)
    report = gradient_check(network, *map(array, data))
    assert report.passed, str(report)
    assert [slope.name for slope in report.slopes] == ["W1", "b1", "W2", "b2", "X"]
    assert max(abs(slope.backward) for slope in report.slopes) > 1e-4


@pytest.mark.float64
@pytest.mark.parametrize(
    ("loss", "last"),
    [(loss, "softmax") for loss in LOSSES]
    + [(loss, "sigmoid") for loss in LOSSES if loss != "categorical_crossentropy"],
)
def test_every_built_in_loss_passes(loss, last, backend, array, data):
    network = NeuralNetwork([3, 4, 2], activations=["tanh", last], loss=loss, device=backend, seed=0)
    assert gradient_check(network, *map(array, data)).passed


def test_a_network_in_single_precision_is_checked_in_double(data):
    network = NeuralNetwork([3, 4, 2], activations=["tanh", "sigmoid"], dtype="float32", seed=0)
    before = network.theta.copy()
    assert gradient_check(network, *data).passed
    np.testing.assert_array_equal(network.theta, before)


def test_a_wrong_derivative_fails_in_its_layer_and_those_before(data):
    wrong = Activation(lambda xp, Z: xp.tanh(Z), lambda xp, dA, Z, A: 2.0 * dA * (1.0 - A * A))
    network = NeuralNetwork([3, 4, 4, 2], activations=["tanh", wrong, "sigmoid"], initializer="he_normal", seed=0)
    report = gradient_check(network, *data)
    assert not report.passed
    failed = {slope.name for slope in report.slopes if slope.error > report.tolerance}
    assert {"W1", "W2", "X"} <= failed
    assert failed.isdisjoint({"W3", "b3"})
    lines = str(report).splitlines()
    assert lines[-1] == "FAILED, at a tolerance of 1e-06"
    assert [line.split()[0] for line in lines if line.endswith("WRONG")][-1] == "X"


def test_a_wrong_loss_gradient_and_one_of_nan_fail(data):
    for gradient in (lambda xp, A, Y: Y - A, lambda xp, A, Y: xp.log(-1.0 - 0.0 * A)):
        network = NeuralNetwork([3, 2], loss=Loss(LOSSES["half_squared_error"].value, gradient), seed=0)
        assert not gradient_check(network, *data).passed


def test_a_report_is_a_table(data):
    network = NeuralNetwork([3, 2], seed=0)
    lines = str(gradient_check(network, *data)).splitlines()
    assert lines[0].split() == ["along", "backward", "differences", "error"]
    assert [line.split()[0] for line in lines[1:-1]] == ["W1", "b1", "X"]
    assert lines[-1] == "passed, at a tolerance of 1e-06"


@pytest.mark.parametrize(("arguments", "error", "says"), [
    ({"X": np.ones((6, 9))}, ValueError, r"X must have 3 values per sample, .* \(6, 9\)"),
    ({"y": np.ones((5, 2))}, ValueError, "X and y must have the same number of samples, got 6 and 5"),
    ({"step": 0.0}, ValueError, "step must be a positive"),
    ({"tolerance": -1.0}, ValueError, "tolerance must be a positive"),
    ({"seed": None}, TypeError, "seed must be an integer"),
])  # fmt: skip
def test_bad_input_is_refused(arguments, error, says, data):
    X, y = data
    with pytest.raises(error, match=says):
        gradient_check(NeuralNetwork([3, 2]), **{"X": X, "y": y, **arguments})


def test_a_wrong_derivative_is_found_however_small_the_gradient(data):
    X, y = data[0], data[1][:, :1]
    wrong = Activation(lambda xp, Z: xp.tanh(Z), lambda xp, dA, Z, A: -5.0 * dA)
    deep = NeuralNetwork([3, *[10] * 6, 1], activations=[wrong, *["sigmoid"] * 6], seed=0)
    assert not gradient_check(deep, X, y).passed


def test_a_correct_derivative_passes_however_large_the_loss(data):
    network = NeuralNetwork([3, 4, 1], activations=["tanh", "identity"], seed=0)
    assert gradient_check(network, data[0], 1e8 + data[1][:, 0]).passed


def test_a_flat_loss_passes_and_is_reported_as_undecided(data):
    network = NeuralNetwork([3, 4, 2], activations=["tanh", "sigmoid"], seed=0)
    report = gradient_check(network, data[0], network.predict(data[0]))
    assert report.passed
    assert "too flat to tell" in str(report)
