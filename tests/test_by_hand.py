"""The single steps equal the document's, and together are a step of training.

"The document" is the notebook *Neural Network From Scratch* (see README).
"""

from __future__ import annotations

import numpy as np
import pytest
from document import Document

from xpnet import NeuralNetwork

LAYERS = [2, 4, 3]
N = 7


@pytest.fixture
def network(backend, dtype):
    return NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 2))


@pytest.fixture
def y(rng):
    return rng.random((N, 3))


@pytest.fixture
def parameters():
    """The same network's initial parameters, for the document's algorithm."""
    return {name: np.array(value) for name, value in NeuralNetwork(LAYERS, seed=1).parameters.items()}


def theta_of(network):
    return network.backend.to_numpy(network.theta).copy()


def test_the_documents_first_network_runs():
    network = NeuralNetwork(layer_list=[3, 4, 5, 6, 7, 8, 9, 1])
    AL = network.deep_forward(X=np.ones((3, 1)))
    assert AL.shape == (1, 1)
    assert network.cost_function(Y=1, AL=AL).shape == (1, 1)
    assert network.cost_function(Y=1, AL=np.array([[0.5]])).tolist() == [[0.125]]


def test_the_default_layers_are_the_documents():
    assert NeuralNetwork().layer_list == [1, 3, 1]


def test_deep_forward_and_its_cache_equal_the_documents(network, parameters, array, assert_close, X):
    AL = network.deep_forward(array(X.T))
    oracle = Document(parameters)
    assert_close(AL, oracle.forward(X.T))
    for arrays, wanted in zip(network.cache, oracle.cache, strict=True):
        for actual, value in zip(arrays, wanted, strict=True):
            assert_close(actual, value)


def test_backward_pass_returns_the_documents_gradients_in_its_order(network, parameters, array, assert_close, X, y):
    AL = network.deep_forward(array(X.T[:, :1]))
    grads = network.backward_pass(array(y.T[:, 0]), AL)
    oracle = Document(parameters)
    expected = oracle.backward(y.T[:, :1], oracle.forward(X.T[:, :1]))
    assert list(grads) == ["dA1", "dW2", "db2", "dA0", "dW1", "db1"]
    for name, value in expected.items():
        assert_close(grads[name], value)


def test_update_parameters_equals_the_documents(network, parameters, array, assert_close, X, y):
    AL = network.deep_forward(array(X.T[:, :1]))
    grads = network.backward_pass(array(y.T[:, 0]), AL)
    network.update_parameters(grads, learning_rate=0.5)
    oracle = Document(parameters)
    oracle.update(oracle.backward(y.T[:, :1], oracle.forward(X.T[:, :1])), learning_rate=0.5)
    for name, value in oracle.parameters.items():
        assert_close(network.parameters[name], value)


def test_an_update_does_not_change_the_cache(network, array, X, backend):
    network.deep_forward(array(X.T))
    W = network.cache[0][1]
    before = backend.to_numpy(W).copy()
    network.update_parameters(network.backward_pass(0.5, network.deep_forward(array(X.T))), learning_rate=0.5)
    np.testing.assert_array_equal(backend.to_numpy(W), before)


def test_the_single_steps_equal_a_step_of_training(backend, dtype, array, X, y):
    by_hand = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    AL = by_hand.deep_forward(array(X.T))
    by_hand.update_parameters(by_hand.backward_pass(array(y.T), AL), learning_rate=0.5)
    trained = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    trained.train(array(X), array(y), learning_rate=0.5, epochs=1, batch_size=None, verbose=False)
    np.testing.assert_allclose(theta_of(by_hand), theta_of(trained), rtol=1e-5)
    cost = float(backend.to_numpy(by_hand.cost_function(array(y.T), AL)[0, 0]))
    assert trained.epoch_loss == [pytest.approx(cost, rel=1e-5)]


def test_sigmoid_and_relu_equal_the_documents(network, array, assert_close):
    Z = np.array([[-1.0, 0.0, 2.0]])
    s = Document({}).sigmoid(Z)
    assert_close(network.sigmoid(array(Z)), s)
    assert_close(network.sigmoid_derivative(array(Z)), s * (1 - s))
    assert_close(network.relu(array(Z)), [[0.0, 0.0, 2.0]])


def test_cost_function_accepts_numbers():
    assert NeuralNetwork().cost_function(1, 0.5).tolist() == [[0.125]]


def test_sigmoid_and_relu_accept_numbers():
    network = NeuralNetwork()
    assert network.sigmoid(0) == 0.5
    assert network.sigmoid_derivative(0) == 0.25
    assert network.relu(-3) == 0


def test_initialize_weights_deep_draws_weights_for_other_layers():
    network = NeuralNetwork(LAYERS, seed=1)
    drawn = network.initialize_weights_deep([5, 2])
    assert {name: value.shape for name, value in drawn.items()} == {"W1": (2, 5), "b1": (2, 1)}
    network.parameters = network.initialize_weights_deep(LAYERS)
    assert not np.array_equal(network.theta, NeuralNetwork(LAYERS, seed=1).theta)


def test_parameters_can_be_assigned_one_by_one_and_all_at_once(network, array, assert_close, parameters):
    network.parameters["W1"] = np.ones((4, 2))
    assert_close(network.theta[:8], np.ones(8))
    network.parameters = parameters
    assert_close(network.theta, np.concatenate([value.ravel() for value in parameters.values()]))
