"""Forward and backward: one code path for a sample, a batch, a stack and an ensemble, checked against the document.

"The document" is the notebook *Neural Network From Scratch* (see README).
"""

from __future__ import annotations

import numpy as np
import pytest
from document import Document
from hypothesis import assume, given
from hypothesis import strategies as st

from xpnet.activations import ACTIVATIONS, relu, sigmoid
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import backward, forward
from xpnet.losses import half_squared_error, mean_loss

LAYERS = [3, 5, 4, 2]
ACTS = [relu, relu, sigmoid]
LAYOUT = Layout(LAYERS)


def named(theta):
    return {name: LAYOUT.view(np, theta, name) for name in LAYOUT.slots}


def gradients_of(xp, theta, X, Y, activations=ACTS, layout=LAYOUT):
    """Return dX and dtheta of the mean loss."""
    A, cache = forward(xp, X, layout.layers(xp, theta), activations)
    _, dA = mean_loss(xp, half_squared_error, A, Y)
    gradients = backward(xp, dA, cache, activations)
    return gradients[0][0], flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])


@pytest.fixture
def theta(rng):
    return rng.standard_normal(LAYOUT.size)


@pytest.fixture
def X(rng):
    return rng.standard_normal((3, 6))


@pytest.fixture
def Y(rng):
    return rng.random((2, 6))


def test_forward_equals_the_documents(xp, array, assert_close, theta, X):
    A, cache = forward(xp, array(X), LAYOUT.layers(xp, array(theta)), ACTS)
    oracle = Document(named(theta))
    assert_close(A, oracle.forward(X), rtol=1e-5)
    for arrays, expected_arrays in zip(cache, oracle.cache, strict=True):
        for actual, wanted in zip(arrays[:4], expected_arrays, strict=True):
            assert_close(actual, wanted, rtol=1e-4)


def test_backward_of_a_sample_equals_the_documents(xp, array, assert_close, theta, X, Y):
    x, y = X[:, :1], Y[:, :1]
    oracle = Document(named(theta))
    grads = oracle.backward(y, oracle.forward(x))
    dX, dtheta = gradients_of(xp, array(theta), array(x), array(y))
    assert_close(dX, grads["dA0"], rtol=1e-4)
    assert_close(dtheta, np.concatenate([grads["d" + name].ravel() for name in LAYOUT.slots]), rtol=1e-4)


def test_the_gradient_of_a_batch_is_the_mean_over_its_samples(xp, array, assert_close, theta, X, Y):
    samples = [gradients_of(np, theta, X[:, i : i + 1], Y[:, i : i + 1])[1] for i in range(6)]
    _, dtheta = gradients_of(xp, array(theta), array(X), array(Y))
    assert_close(dtheta, np.mean(samples, axis=0), rtol=1e-4)


def test_one_code_path_computes_sample_batch_stack_and_ensemble(xp, array, assert_close, theta, X, Y, rng):
    """In each row of the table of shapes, every network has the outputs and gradients that it has individually."""
    others = rng.standard_normal((4, LAYOUT.size))
    others[0] = theta
    datasets = rng.standard_normal((4, 3, 6))
    shapes = [
        (theta, X[:, :1], Y[:, :1]),  # a sample
        (theta, X, Y),  # a batch
        (theta, X.T[:, :, None], Y.T[:, :, None]),  # the document's stack
        (others, X, Y),  # an ensemble on shared data
        (others, datasets, np.broadcast_to(Y, (4, 2, 6))),  # an ensemble, each on its own data
    ]
    for thetas, data, targets in shapes:
        A, _ = forward(xp, array(data), LAYOUT.layers(xp, array(thetas)), ACTS)
        dX, dtheta = gradients_of(xp, array(thetas), array(data), array(targets))
        ensemble_shape = np.broadcast_shapes(thetas.shape[:-1], data.shape[:-2])
        each_theta = np.broadcast_to(thetas, (*ensemble_shape, thetas.shape[-1]))
        each_X = np.broadcast_to(data, (*ensemble_shape, *data.shape[-2:]))
        each_Y = np.broadcast_to(targets, (*ensemble_shape, *targets.shape[-2:]))
        individual = {
            "A": np.empty((*ensemble_shape, 2, data.shape[-1])),
            "dX": np.empty(each_X.shape),
            "dtheta": np.empty(each_theta.shape),
        }
        for i in np.ndindex(*ensemble_shape):
            individual["A"][i] = Document(named(each_theta[i])).forward(each_X[i])
            individual["dX"][i], individual["dtheta"][i] = gradients_of(np, each_theta[i], each_X[i], each_Y[i])
        for actual, expected in ((A, individual["A"]), (dX, individual["dX"]), (dtheta, individual["dtheta"])):
            assert_close(actual, expected, rtol=1e-4)


def test_omitting_the_input_gradient_changes_nothing_else(xp, array, theta, X, Y, backend):
    A, cache = forward(xp, array(X), LAYOUT.layers(xp, array(theta)), ACTS)
    _, dA = mean_loss(xp, half_squared_error, A, array(Y))
    whole = backward(xp, dA, cache, ACTS)
    without = backward(xp, dA, cache, ACTS, input_gradient=False)
    assert without[0][0] is None
    for (_, *arrays), (_, *wanted) in zip(without, whole, strict=True):
        for one, other in zip(arrays, wanted, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    names = draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    return sizes, [ACTIVATIONS[name] for name in names], draw(st.integers(1, 5)), draw(st.integers(0, 2**32 - 1))


@pytest.mark.float64
@given(network=networks())
def test_gradients_of_random_networks_agree_with_finite_differences(network, backend, array):
    """The test takes one random direction of parameters and samples, which costs the same for every size."""
    sizes, activations, m, seed = network
    rng, layout, h, xp = np.random.default_rng(seed), Layout(sizes), 1e-6, backend.xp
    theta, v_theta = rng.standard_normal((2, layout.size))
    X, v_X = rng.standard_normal((2, sizes[0], m))
    Y = rng.random((sizes[-1], m))

    def loss(step):
        layers = layout.layers(xp, array(theta + step * v_theta))
        with backend.on_device():
            A, cache = forward(xp, array(X + step * v_X), layers, activations)
            value = float(backend.to_numpy(mean_loss(xp, half_squared_error, A, array(Y))[0]))
        Zs = [backend.to_numpy(Z) for Z, *_ in cache]
        # Of the exponential of a large number, differences are not exact enough.
        assume(all(np.all(Z < 10.0) for Z, g in zip(Zs, activations, strict=True) if g is ACTIVATIONS["exp"]))
        return value, [np.sign(Z) for Z in Zs]

    (above, signs), (below, other_signs) = loss(h), loss(-h)
    # Across the kink of a relu there is no derivative to compare with.
    assume(all(np.array_equal(one, other) for one, other in zip(signs, other_signs, strict=True)))
    dX, dtheta = gradients_of(xp, array(theta), array(X), array(Y), activations, layout)
    slope = np.sum(backend.to_numpy(dtheta) * v_theta) + np.sum(backend.to_numpy(dX) * v_X)
    assert slope == pytest.approx((above - below) / (2 * h), rel=1e-7, abs=1e-7)
