"""Networks with hidden layers of different sizes train in one ensemble, each as if it were alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from interpreted import lanes_for_few, without_numba

from xpnet import (
    Activation,
    NeuralNetwork,
    Optimizer,
    load_checkpoint,
    save_checkpoint,
)
from xpnet.activations import ACTIVATIONS

__all__ = ["lanes_for_few", "without_numba"]
SIZES = [[2, 3, 4, 1], [2, 5, 2, 1], [2, 1, 6, 1]]
SEED = 5
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((11, 2)), RNG.random((11, 1))
COMPONENTWISE = [name for name in ACTIVATIONS if name != "softmax"]

SETTINGS = {
    "sgd": {},
    "adam with clipping": {"optimizer": "adam", "clip_norm": 0.01},
    "dropout": {"dropout": 0.3},
    "dropout in one layer": {"dropout": [0.0, 0.4]},
    "penalties": {"l1": 0.01, "l2": [0.1, 0.2, 0.3], "weight_decay": 0.1},
    "other seeds": {"seed": [7, 7, 1]},
    "scales": {"initial_scale": [0.5, 1.0, 2.0]},
}
TRAININGS = {
    "sample by sample": {},
    "shuffled batches": {"batch_size": 4, "shuffle": True},
    "own rates and early stopping": {"learning_rate": [0.1, 0.5, 2.0], "patience": 2, "validation_split": 0.3},
    "chunks": {"members_at_once": 2},
}


def alone(i, settings, **common):
    """Return the network that equals one of an ensemble."""
    settings = {"seed": range(SEED, SEED + 3), **settings}
    own = {name: value[i] if name in MEMBERS and not np.isscalar(value) else value for name, value in settings.items()}
    return NeuralNetwork(SIZES[i], **common, **own)


MEMBERS = ("seed", "l2", "initial_scale")


def assert_equal_to_networks_alone(settings, training, tolerance=1e-10, device=None, dtype="float64", data=(X, Y)):
    training = {"learning_rate": 0.1, "epochs": 4, "verbose": False, **training}
    common = {"device": device, "dtype": dtype}
    ensemble = NeuralNetwork(SIZES, **{"seed": SEED, **settings}, **common)
    ensemble.train(*data, **training)
    to_numpy = ensemble.backend.to_numpy
    for i in range(3):
        network = alone(i, settings, **common)
        rate = np.broadcast_to(training["learning_rate"], 3)[i].item()
        own = {name: value for name, value in training.items() if name != "members_at_once"}
        network.train(*data, **{**own, "learning_rate": rate})
        member = ensemble.member(i)
        assert (member.layer_list, member.ensemble, member.seed) == (SIZES[i], None, network.seed)
        for ours, theirs in zip(states(member), states(network), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), rtol=0, atol=tolerance)
        losses, own_losses = (each.history["loss"][: network.epochs_trained] for each in (member, network))
        np.testing.assert_allclose(losses, own_losses, rtol=tolerance, atol=tolerance)
        ours, theirs = (to_numpy(each) for each in (ensemble.predict(data[0])[i, ...], network.predict(data[0])))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def states(network):
    return network.theta, *network._snapshot.optimizer_state


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_each_network_equals_one_that_trains_alone(settings, training):
    assert_equal_to_networks_alone(settings, training)


@pytest.mark.parametrize("activation", COMPONENTWISE)
def test_with_every_activation(activation):
    """Also one that is not 0 at 0, so that units which a network does not have are not 0 either."""
    assert_equal_to_networks_alone({"activations": [activation, activation, "sigmoid"], "optimizer": "momentum"}, {})


def test_on_every_backend(backend, array, dtype):
    settings, tolerance = {"optimizer": "adam", "dropout": 0.3}, {"float64": 1e-10, "float32": 1e-4}[dtype]
    data = array(X), array(Y)
    training = {"batch_size": 4, "learning_rate": 0.01}
    assert_equal_to_networks_alone(settings, training, tolerance, device=backend, dtype=dtype, data=data)


@pytest.mark.parametrize("count", [3, 18], ids=["one after the other", "lanes"])
@pytest.mark.parametrize("settings", [SETTINGS["sgd"], SETTINGS["dropout"], SETTINGS["adam with clipping"]], ids=str)
def test_compiled_training_is_the_same(settings, count, without_numba):
    pytest.importorskip("numba")
    networks, settings = [], {"activations": ["sigmoid"] * 3, "seed": 0, **settings}
    for compile in (True, False):
        networks.append(NeuralNetwork(SIZES * (count // 3), **settings))
        networks[-1].train(X, Y, 0.1, epochs=4, batch_size=4, shuffle=True, verbose=False, compile=compile)
    for ours, theirs in zip(*map(states, networks), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert without_numba


def test_units_that_a_network_does_not_have_are_zero():
    network = NeuralNetwork(SIZES, seed=SEED, activations=["sigmoid"] * 3, l2=0.1)
    network.train(X, Y, 0.1, epochs=4, verbose=False)
    assert network.theta.shape == (3, 15 + 36 + 7)
    assert network.parameters["W1"].shape == (3, 5, 2)
    for i, (_, n1, n2, _) in enumerate(SIZES):
        W1, W2, W3 = (network.parameters[name][i] for name in ("W1", "W2", "W3"))
        assert np.all(W1[:n1] != 0.0)
        assert np.all(W1[n1:] == 0.0)
        assert np.all(W2[:n2, :n1] != 0.0)
        assert np.count_nonzero(W2) == n1 * n2
        assert np.all(W3[:, n2:] == 0.0)


def test_the_number_of_networks_need_not_be_given():
    network = NeuralNetwork(SIZES, seed=SEED)
    assert network.ensemble == NeuralNetwork(SIZES, ensemble=3).ensemble == 3
    assert network.layer_list == network.settings["layer_list"] == SIZES
    assert NeuralNetwork([[2, 3, 1]]).theta.shape == (1, 13)
    assert NeuralNetwork(np.array([[2, 3, 1], [2, 4, 1]])).layer_list == [[2, 3, 1], [2, 4, 1]]
    assert NeuralNetwork(((2, 3, 1), [2, 3, 1])).layer_list == [[2, 3, 1]] * 2


def test_the_description_shows_the_sizes():
    network = NeuralNetwork(SIZES, seed=SEED)
    assert repr(network).startswith("NeuralNetwork([[2, 3, 4, 1], [2, 5, 2, 1], [2, 1, 6, 1]], ")
    assert "# 22 to 30 parameters" in repr(network)
    text = str(network.summary())
    assert "1 to 5" in text
    assert "3, with 82 parameters in all" in text


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda network: pickle.loads(pickle.dumps(network)),
        lambda network: loaded(NeuralNetwork(SIZES), network.state_dict()),
    ],
    ids=["copy", "pickle", "state"],
)
def test_a_copy_trains_on_like_the_original(duplicate):
    network = trained()
    other = duplicate(network)
    for each in (network, other):
        each.train(X, Y, 0.1, epochs=2, verbose=False)
    np.testing.assert_array_equal(other.theta, network.theta)


def loaded(network, state):
    network.load_state_dict(state)
    return network


def trained():
    network = NeuralNetwork(SIZES, seed=SEED)
    network.train(X, Y, 0.1, epochs=2, verbose=False)
    return network


def test_a_checkpoint_keeps_the_sizes(tmp_path):
    pytest.importorskip("safetensors")
    network = trained()
    save_checkpoint(network, tmp_path / "network.safetensors")
    other = load_checkpoint(tmp_path / "network.safetensors")
    assert other.layer_list == SIZES
    np.testing.assert_array_equal(other.theta, network.theta)


def test_cleared_weights_are_those_of_networks_alone():
    ensemble = NeuralNetwork(SIZES, seed=SEED)
    ensemble.clear_weights()
    for i in range(3):
        network = alone(i, {})
        network.clear_weights()
        np.testing.assert_array_equal(ensemble.member(i).theta, network.theta)


def test_step_by_step_training_is_the_same():
    by_hand, network = (NeuralNetwork(SIZES, seed=SEED, activations=["sigmoid"] * 3) for _ in range(2))
    network.train(X[:3], Y[:3], 0.1, epochs=1, batch_size=None, verbose=False)
    AL = by_hand.deep_forward(X[:3].T)
    by_hand.update_parameters(by_hand.backward_pass(Y[:3].T, AL), 0.1)
    np.testing.assert_allclose(by_hand.theta, network.theta, rtol=0, atol=1e-14)


WRONG = {
    "another number of layers": ([[2, 3, 1], [2, 3, 3, 1]], "layer_list\\[1\\] must have as many layers as"),
    "other inputs": (
        [[2, 3, 1], [3, 3, 1]],
        "layer_list\\[1\\] must have as many inputs as layer_list\\[0\\], 2, got 3",
    ),
    "other outputs": ([[2, 3, 1], [2, 3, 2]], "layer_list\\[1\\] must have as many outputs as"),
    "a size of 0": ([[2, 3, 1], [2, 0, 1]], "layer_list\\[1\\]\\[1\\] must be"),
    "a number among lists": ([[2, 3, 1], 4], "layer_list\\[1\\] must be a list of layer sizes"),
    "a single layer": ([[2, 1], [2]], "layer_list\\[1\\] must have at least two sizes"),
}


@pytest.mark.parametrize(("sizes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_sizes_are_refused(sizes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        NeuralNetwork(sizes)


def test_another_number_of_networks_is_refused():
    with pytest.raises(ValueError, match="ensemble must be 3, the number of networks in layer_list, got 2"):
        NeuralNetwork(SIZES, ensemble=2)


def test_parameters_of_units_that_a_network_does_not_have_must_be_zero():
    network = NeuralNetwork(SIZES, seed=SEED)
    before, state = network.theta.copy(), network.state_dict()
    ones = np.ones((3, 5, 2))
    with pytest.raises(ValueError, match="W1 must be 0 for units that a network does not have"):
        network.parameters["W1"] = ones
    with pytest.raises(ValueError, match="must be 0 for units"):
        network.parameters = {**network.parameters, "W1": ones}
    with pytest.raises(ValueError, match="theta must be 0 for units"):
        network.load_state_dict({**state, "theta": np.ones_like(before)})
    np.testing.assert_array_equal(network.theta, before)
    network.parameters["b3"] = np.ones((3, 1, 1))
    assert np.all(network.parameters["b3"] == 1.0)


SUMMED = Activation(lambda xp, Z: Z + xp.sum(Z, axis=-2, keepdims=True), lambda xp, dA, Z, A: dA)


@pytest.mark.parametrize("activation", ["softmax", SUMMED], ids=["softmax", "custom"])
def test_activations_that_combine_units_are_refused_in_hidden_layers(activation):
    activations = [activation, "relu", "sigmoid"]
    with pytest.raises(ValueError, match="activations\\[0\\] must compute each unit for itself"):
        NeuralNetwork(SIZES, activations=activations)
    NeuralNetwork([SIZES[0]] * 2, activations=activations)


def test_an_optimizer_that_moves_parameters_without_a_gradient_is_refused():
    drift = Optimizer(lambda xp, theta: (), lambda xp, theta, dtheta, state, rate: (theta - rate * (dtheta + 1), state))
    network = NeuralNetwork(SIZES, optimizer=drift, seed=SEED)
    with pytest.raises(ValueError, match="optimizer must leave a parameter at 0 whose gradient is 0"):
        network.train(X, Y, 0.1, epochs=1, verbose=False)
    assert network.epochs_trained == 0
