"""Losses are per sample, and training minimizes their mean over the samples."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import NeuralNetwork
from xpnet.activations import exp, identity, relu, sigmoid, softmax
from xpnet.losses import LOSSES, fuse, huber, mean_loss

FORMULAS = {
    "half_squared_error": lambda A, Y: 0.5 * ((Y - A) ** 2).sum(axis=-2),
    "mean_absolute_error": lambda A, Y: np.abs(Y - A).sum(axis=-2),
    "huber": lambda A, Y: np.where(np.abs(A - Y) < 1, 0.5 * (A - Y) ** 2, np.abs(A - Y) - 0.5).sum(axis=-2),
    "log_cosh": lambda A, Y: np.log(np.cosh(A - Y)).sum(axis=-2),
    "poisson": lambda A, Y: (A - Y + Y * np.log(Y / A)).sum(axis=-2),
    "binary_crossentropy": lambda A, Y: -(Y * np.log(A) + (1 - Y) * np.log(1 - A)).sum(axis=-2),
    "categorical_crossentropy": lambda A, Y: -(Y * np.log(A)).sum(axis=-2),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_loss_has_a_formula_here():
    assert FORMULAS.keys() == LOSSES.keys()


@every_loss
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (3, 5), (2, 3, 5)])
def test_mean_loss_is_the_formula_averaged_over_the_samples(name, shape, xp, array, assert_close, rng):
    A, Y = 0.05 + 0.9 * rng.random(shape), rng.random(shape)
    assert_close(LOSSES[name].value(xp, array(A), array(Y)), FORMULAS[name](A, Y))
    value, _ = mean_loss(xp, LOSSES[name], array(A), array(Y))
    assert_close(value, FORMULAS[name](A, Y).mean(axis=-1))


@pytest.mark.float64
@every_loss
@pytest.mark.parametrize("m", [1, 5])
def test_gradient_agrees_with_finite_differences(name, m, xp, backend, array, rng):
    A, Y, direction = (0.05 + 0.9 * rng.random((3, m)) for _ in range(3))
    h = 1e-6

    def value(A):
        return float(backend.to_numpy(mean_loss(xp, LOSSES[name], array(A), array(Y))[0]))

    numeric = (value(A + h * direction) - value(A - h * direction)) / (2 * h)
    _, dA = mean_loss(xp, LOSSES[name], array(A), array(Y))
    assert np.sum(backend.to_numpy(dA) * direction) == pytest.approx(numeric, rel=1e-7)


CANONICAL = {name: loss.canonical for name, loss in LOSSES.items() if loss.canonical}
every_canonical_pair = pytest.mark.parametrize("name", CANONICAL)


def test_the_canonical_pairs_are_those_of_the_textbooks():
    assert {name: activation for name, (activation, _) in CANONICAL.items()} == {
        "poisson": exp,
        "binary_crossentropy": sigmoid,
        "categorical_crossentropy": softmax,
    }


@every_canonical_pair
def test_a_canonical_pair_equals_its_two_parts(name, xp, array, assert_close, rng):
    activation, of_logits = CANONICAL[name]
    Z, Y = rng.standard_normal((2, 4, 5))
    Y = softmax.forward(np, Y)
    A = activation.forward(xp, array(Z))
    loss = LOSSES[name]
    assert_close(of_logits.value(xp, array(Z), array(Y)), FORMULAS[name](activation.forward(np, Z), Y), rtol=1e-5)
    dA = loss.gradient(xp, A, array(Y))
    dZ = activation.backward(xp, dA, array(Z), A)
    expected = activation.forward(np, Z) - Y
    assert_close(dZ, expected, atol=1e-5)
    assert_close(of_logits.gradient(xp, array(Z), array(Y)), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@every_canonical_pair
def test_a_canonical_pair_is_exact_for_logits_of_any_size(name, scale, xp, backend, dtype, array, rng):
    """The oracle sums in double precision, and factors out the largest exponent. The Poisson loss may overflow."""
    Z = rng.choice([-1.0, -0.3, 0.0, 0.3, 1.0], size=(3, 40)).astype(dtype).astype(float) * scale
    Y = np.eye(3)[rng.integers(0, 3, 40)].T
    if name == "binary_crossentropy":
        expected = (np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z))) - Y * Z).sum(axis=0)
    elif name == "poisson":
        with np.errstate(over="ignore"):
            expected = (np.exp(np.minimum(Z, {"float64": 709.0, "float32": 88.0}[dtype])) - Y * Z - Y).sum(axis=0)
    else:
        top = Z.max(axis=0)
        expected = top + np.log(np.exp(Z - top).sum(axis=0)) - (Y * Z).sum(axis=0)
    _, of_logits = CANONICAL[name]
    with np.errstate(over="ignore"):
        value, expected = backend.to_numpy(of_logits.value(xp, array(Z), array(Y))), expected.astype(dtype)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)
    dZ = backend.to_numpy(of_logits.gradient(xp, array(Z), array(Y)))
    expected = CANONICAL[name][0].forward(np, Z.astype(dtype)) - Y
    np.testing.assert_allclose(dZ, expected, rtol=tolerance if name == "poisson" else 0.0, atol=tolerance)


def test_training_fuses_a_canonical_pair_and_nothing_else():
    entropy, squared = LOSSES["binary_crossentropy"], LOSSES["half_squared_error"]
    assert fuse([relu, sigmoid], entropy) == ([relu, identity], entropy.canonical[1])
    assert fuse([relu, softmax], entropy) == ([relu, softmax], entropy)
    assert fuse([relu, sigmoid], squared) == ([relu, sigmoid], squared)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("name", "last"),
    [(loss, "softmax") for loss in LOSSES]
    + [(loss, "sigmoid") for loss in LOSSES if loss != "categorical_crossentropy"],
)
def test_every_loss_and_output_activation_give_the_right_gradient(name, last, backend, array, rng):
    """The single steps and training are compared with finite differences of the textbook formula."""
    X, Y = rng.standard_normal((2, 6)), softmax.forward(np, rng.standard_normal((3, 6)))
    network = NeuralNetwork([2, 4, 3], activations=["tanh", last], loss=name, device=backend, seed=0)
    start, direction, h = backend.to_numpy(network.theta).copy(), rng.standard_normal(network.theta.shape[0]), 1e-6

    def cost(theta):
        layout = network.parameters.layout
        network.parameters = {key: layout.view(np, theta, key) for key in layout.slots}
        return FORMULAS[name](network.deep_forward(X), Y).mean()

    slope = (cost(start + h * direction) - cost(start - h * direction)) / (2 * h)
    cost(start)
    grads = network.backward_pass(Y, network.deep_forward(X))
    by_hand = np.concatenate([np.ravel(grads[f"d{key}"]) for key in network.parameters])
    assert by_hand @ direction == pytest.approx(slope, rel=1e-6, abs=1e-8)
    network.train(X.T, Y.T, learning_rate=1.0, epochs=1, batch_size=None, verbose=False)
    np.testing.assert_allclose(start - backend.to_numpy(network.theta), by_hand, rtol=1e-9, atol=1e-12)


def test_huber_is_linear_beyond_its_delta(xp, array, assert_close):
    loss, zero = huber(delta=2.0), array([[0.0, 0.0, 0.0]])
    assert_close(loss.value(xp, array([[1.0, 3.0, -5.0]]), zero), [0.5, 4.0, 8.0])
    assert_close(loss.gradient(xp, array([[1.0, 3.0, -5.0]]), zero), [[1.0, 2.0, -2.0]])
    with pytest.raises(ValueError, match="delta must be a positive"):
        huber(delta=0.0)


@every_loss
def test_losses_and_gradients_are_finite_at_the_ends_of_the_range(name, xp, backend, array):
    A, Y = array([[0.0, 1.0, 0.0, 1.0]]), array([[0.0, 0.0, 1.0, 1.0]])
    for function in (LOSSES[name].value, LOSSES[name].gradient):
        assert np.isfinite(backend.to_numpy(function(xp, A, Y))).all()


def test_labels_equal_one_hot_targets(backend, dtype, array, rng):
    X, labels = rng.standard_normal((20, 2)), rng.integers(0, 3, 20)
    networks = [
        NeuralNetwork(
            [2, 5, 3],
            activations=["tanh", "softmax"],
            loss="categorical_crossentropy",
            device=backend,
            dtype=dtype,
            seed=0,
        )
        for _ in range(2)
    ]
    networks[0].train(array(X), backend.asarray(labels.astype("int32")), 0.1, epochs=3, verbose=False, batch_size=5)
    networks[1].train(array(X), array(np.eye(3)[labels]), 0.1, epochs=3, verbose=False, batch_size=5)
    assert networks[0].epoch_loss == networks[1].epoch_loss
    np.testing.assert_array_equal(*(backend.to_numpy(network.theta) for network in networks))


@pytest.mark.parametrize(("labels", "says"), [
    ([0, 1, 3], "y of shape .3,. must hold labels, integers from 0 to 2 for 3 classes, got values from 0 to 3"),
    ([0, -1, 2], "got values from -1 to 2"),
    ([0, 0.5, 2], "with fractions"),
    ([0, np.nan, 2], "y must be finite"),
])  # fmt: skip
def test_labels_out_of_range_are_refused(labels, says, backend, dtype):
    network = NeuralNetwork([1, 3], activations=["softmax"], device=backend, dtype=dtype)
    with pytest.raises(ValueError, match=says):
        network.train([1.0, 2.0, 3.0], labels, 0.1, verbose=False)
    assert network.epoch_loss == []


def test_the_loss_of_one_sample_equals_the_documents_cost(xp, array, assert_close):
    cost, dA = mean_loss(xp, LOSSES["half_squared_error"], array([[0.5]]), array([[1.0]]))
    assert_close(cost, 0.125)
    assert_close(dA, [[-0.5]])


def test_log_cosh_is_exact_for_small_errors_too(xp, backend, dtype, array):
    error = np.logspace(-8, 2, 101).astype(dtype)
    value = backend.to_numpy(LOSSES["log_cosh"].value(xp, array(error[None, :]), array(np.zeros((1, 101)))))
    exact = error.astype(float)
    expected = np.where(exact < 1e-3, exact**2 / 2 - exact**4 / 12, np.logaddexp(exact, -exact) - np.log(2))
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype == "float32" else 1e-9)


def test_binary_crossentropy_is_exact_where_it_is_small(xp, backend, dtype, array):
    Z = np.array([[1.0, 5.0, 15.0, 20.0, 50.0]])
    _, of_logits = CANONICAL["binary_crossentropy"]
    value = backend.to_numpy(of_logits.value(xp, array(Z), array(np.ones_like(Z))))
    np.testing.assert_allclose(value, np.log1p(np.exp(-Z))[0], rtol=1e-6 if dtype == "float32" else 1e-14)


def test_a_small_probability_still_has_its_gradient(xp, backend, array):
    """As in PyTorch in single precision, for Z = −20 and a target of 1: dL/dZ is −1."""
    A, Y = array([[np.exp(-20.0)]]), array([[1.0]])
    dA = LOSSES["categorical_crossentropy"].gradient(xp, A, Y)
    assert backend.to_numpy(dA * A)[0, 0] == pytest.approx(-1.0, rel=1e-5)


def test_the_default_output_activation_follows_from_the_loss():
    for name, last in (("categorical_crossentropy", softmax), ("binary_crossentropy", sigmoid), ("huber", sigmoid)):
        assert NeuralNetwork([2, 3, 3], loss=name).activations == [relu, last]


def test_labels_may_be_a_column(rng):
    X, labels = rng.standard_normal((20, 2)), rng.integers(0, 3, 20)
    flat, column = (NeuralNetwork([2, 5, 3], loss="categorical_crossentropy", seed=0) for _ in range(2))
    flat.train(X, labels, 0.1, epochs=2, verbose=False)
    column.train(X, labels[:, None], 0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(flat.theta, column.theta)
