"""Bad input raises a one-sentence error that names the argument and its value, and changes nothing."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from xpnet import Activation, NeuralNetwork, Optimizer
from xpnet._checks import positive_integer
from xpnet.initializers import normal
from xpnet.optimizers import OPTIMIZERS

LAYERS = [2, 4, 1]
GOOD_X, GOOD_Y = np.linspace(-1, 1, 14).reshape(7, 2), np.linspace(0, 1, 7).reshape(7, 1)


def with_value(data, value):
    changed = data.copy()
    changed[3, 0] = value
    return changed


# What is wrong, the arguments of train, the error, and its message.
BAD_TRAINING = [
    (
        "X of other size",
        {"X": np.ones((7, 3))},
        ValueError,
        r"X must have 2 values per sample, the size of the input layer, got 3 in the shape \(7, 3\)",
    ),
    ("X the wrong way round", {"X": GOOD_X.T}, ValueError, r"X must have 2 values per sample, .* \(2, 7\); use X.T"),
    (
        "y of other size",
        {"y": np.ones((7, 2))},
        ValueError,
        r"y must have 1 value per sample, the size of the output layer, .* \(7, 2\)",
    ),
    ("flat X for two inputs", {"X": np.ones(7)}, ValueError, r"X must have 2 values per sample, .* \(7,\)"),
    ("X of too many axes", {"X": np.ones((7, 2, 3))}, ValueError, r"X must have the shape \(N, 2\).* \(7, 2, 3\)"),
    ("X a number", {"X": 3.0}, ValueError, r"X must have the shape \(N, 2\)"),
    ("different length", {"y": GOOD_Y[:5]}, ValueError, "X and y must have the same number of samples, got 7 and 5"),
    (
        "no samples",
        {"X": np.ones((0, 2)), "y": np.ones((0, 1))},
        ValueError,
        r"X must not be empty, got the shape \(0, 2\)",
    ),
    ("no targets", {"y": np.ones((0, 1))}, ValueError, "y must not be empty"),
    ("NaN in X", {"X": with_value(GOOD_X, np.nan)}, ValueError, "X must be finite, got NaN or infinity"),
    ("infinity in y", {"y": with_value(GOOD_Y, np.inf)}, ValueError, "y must be finite, got"),
    (
        "text",
        {"X": [["a", "b"]] * 7},
        TypeError,
        r"X cannot be converted to an array: it holds 'a' at \[0, 0\], which",
    ),
    ("complex numbers", {"X": GOOD_X * 1j}, TypeError, "X must hold real numbers, got an array of complex128"),
    (
        "objects",
        {"y": np.array([[None]] * 7)},
        TypeError,
        r"y cannot be converted to an array: it holds None at \[0, 0\], which is not a number",
    ),
    ("nothing", {"X": None}, TypeError, "X must hold real numbers"),
    ("ragged lists", {"X": [[1, 2], [3]]}, ValueError, "X cannot be converted to an array: .*inhomogeneous"),
    ("masked values", {"X": np.ma.masked_less(GOOD_X, 0)}, ValueError, "X cannot be converted to an array: .*masked"),
    (
        "targets out of reach",
        {"y": GOOD_Y * 2 - 1},
        ValueError,
        "y must be from 0 to 1, .* got values from -1.0 to 1.0; scale",
    ),
    (
        "a rate of zero",
        {"learning_rate": 0},
        ValueError,
        "learning_rate must be a positive number, finite in float.., got 0",
    ),
    ("a rate below zero", {"learning_rate": -0.1}, ValueError, "learning_rate must be .* got -0.1"),
    ("a rate of NaN", {"learning_rate": np.nan}, ValueError, "learning_rate must be .* got nan"),
    ("a rate of infinity", {"learning_rate": np.inf}, ValueError, "learning_rate must be .* got inf"),
    ("a rate in words", {"learning_rate": "fast"}, TypeError, "learning_rate must be a positive number, got 'fast'"),
    ("no epochs", {"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
    ("epochs below zero", {"epochs": -1}, ValueError, "epochs must be a positive integer, got -1"),
    ("half an epoch", {"epochs": 0.5}, TypeError, "epochs must be a positive integer, got 0.5"),
    ("NaN epochs", {"epochs": np.nan}, TypeError, "epochs must be a positive integer, got nan"),
    ("a batch of none", {"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
    ("a batch below zero", {"batch_size": -3}, ValueError, "batch_size must be a positive integer, got -3"),
    ("a batch of NaN", {"batch_size": np.nan}, TypeError, "batch_size must be a positive integer, got nan"),
    ("true as a batch", {"batch_size": True}, TypeError, "batch_size must be a positive integer, got True"),
    ("a rate that is 0 in the precision", {"learning_rate": 1e-330}, ValueError, "learning_rate must be .* got 0"),
    ("a rate beyond all floats", {"learning_rate": 10**400}, ValueError, "learning_rate must be .*, got 10000"),
    ("a callback that is none", {"callbacks": 5}, TypeError, "callbacks must be functions or Callbacks, got 5"),
    (
        "a schedule that is none",
        {"schedule": "cosine"},
        TypeError,
        r"schedule, such as .*, must be a function \(xp, t, history\), got 'cosine'",
    ),
    ("reports every 0 epochs", {"verbose_epoch": 0}, ValueError, "verbose_epoch must be a positive integer, got 0"),
]


@pytest.fixture
def network(backend, dtype):
    network = NeuralNetwork(LAYERS, device=backend, dtype=dtype, seed=1)
    network.train(GOOD_X, GOOD_Y, learning_rate=0.1, epochs=1, verbose=False)
    network.deep_forward(GOOD_X.T)
    return network


@pytest.fixture
def unchanged(network):
    """Fail if the test changes the network."""

    def state():
        return network.backend.to_numpy(network.theta).tolist(), list(network.epoch_loss), len(network.cache)

    before, place = state(), network.backend
    yield
    assert state() == before
    assert network.backend == place


@pytest.mark.parametrize(
    ("arguments", "error", "says"), [c[1:] for c in BAD_TRAINING], ids=[c[0] for c in BAD_TRAINING]
)
def test_train_refuses_bad_input(arguments, error, says, network, unchanged):
    with pytest.raises(error, match=says):
        network.train(**{"X": GOOD_X, "y": GOOD_Y, "learning_rate": 0.1, "epochs": 1, "verbose": False, **arguments})


@pytest.mark.parametrize(("data", "error", "says"), [
    (np.ones((5, 3)), ValueError, r"X must have 2 values per sample, .* \(5, 3\)"),
    (np.full((5, 2), np.nan), ValueError, "X must be finite"),
    (np.ones((0, 2)), ValueError, "X must not be empty"),
    (np.ones((5, 2), dtype=complex), TypeError, "X must hold real numbers"),
])  # fmt: skip
def test_predict_refuses_bad_input(data, error, says, network, unchanged):
    with pytest.raises(error, match=says):
        network.predict(data)


@pytest.mark.parametrize("shape", [(3, 1), (2,), (2, 0), ()])
def test_a_forward_pass_refuses_other_shapes(shape, network, unchanged):
    with pytest.raises(ValueError, match=r"X must have the shape \(2, m\), one sample per column"):
        network.deep_forward(np.ones(shape))


def test_a_backward_pass_refuses_arrays_that_do_not_fit_the_forward_pass(network, unchanged):
    with pytest.raises(ValueError, match=r"AL must have the shape \(1, 7\), got \(1, 3\)"):
        network.backward_pass(0.5, np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"Y_target must have the shape of AL, \(1, 7\), got \(4,\)"):
        network.backward_pass(np.ones(4), np.ones((1, 7)))
    with pytest.raises(ValueError, match=r"AL must have the shape \(n, m\), one sample per column, got \(7,\)"):
        network.cost_function(0.5, np.ones(7))


def test_a_backward_pass_needs_a_forward_pass():
    with pytest.raises(ValueError, match="call deep_forward first"):
        NeuralNetwork(LAYERS).backward_pass(0.5, np.ones((1, 1)))


def test_transposed_targets_are_refused():
    network = NeuralNetwork([2, 4, 3])
    AL = network.deep_forward(np.ones((2, 7)))
    with pytest.raises(ValueError, match=r"Y must have the shape of AL, \(3, 7\), got \(7, 3\)"):
        network.cost_function(np.ones((7, 3)), AL)


def test_update_parameters_refuses_other_gradients(network, unchanged):
    grads = network.backward_pass(0.5, network.deep_forward(GOOD_X.T))
    with pytest.raises(ValueError, match=r"grads must have dW1, .*, got no dW1, db2"):
        network.update_parameters({"db1": grads["db1"], "dW2": grads["dW2"]}, 0.1)
    with pytest.raises(ValueError, match=r"db1 must have the shape \(4, 1\), got \(4, 7\)"):
        network.update_parameters({**grads, "db1": np.ones((4, 7))}, 0.1)
    with pytest.raises(ValueError, match="learning_rate"):
        network.update_parameters(grads, 0)
    with pytest.raises(ValueError, match="dW1 must be finite"):
        network.update_parameters({**grads, "dW1": np.full((4, 2), np.nan)}, 0.1)
    with pytest.raises(TypeError, match="grads must be a mapping as backward_pass returns it, got list"):
        network.update_parameters([grads], 0.1)


def test_parameters_refuse_other_names_and_shapes(network, unchanged):
    with pytest.raises(ValueError, match="parameters must be a mapping with the keys W1, b1, W2, b2, got W1"):
        network.parameters = {"W1": np.ones((4, 2))}
    with pytest.raises(ValueError, match=r"b2 must have the shape \(1, 1\), got \(2, 2\)"):
        network.parameters = {**network.parameters, "b2": np.ones((2, 2))}


@pytest.mark.parametrize("other", [
    array_api_strict.asarray(GOOD_Y, device=array_api_strict.Device("device2")), GOOD_Y,
], ids=["another device", "another library"])  # fmt: skip
def test_arrays_on_two_devices_are_refused(other, network, unchanged):
    X = array_api_strict.asarray(GOOD_X, device=array_api_strict.Device("device1"))
    with pytest.raises(
        ValueError,
        match=r"X and y must be arrays of one library .* got array_api_strict on device1 and .*; convert one",
    ):
        network.train(X, other, 0.1)


def test_bad_data_on_another_device_does_not_move_the_network(array, dtype):
    network = NeuralNetwork(LAYERS, dtype=dtype)
    place = network.backend
    with pytest.raises(ValueError, match="X and y must have the same number of samples, got 7 and 5"):
        network.train(array(GOOD_X), array(GOOD_Y[:5]), 0.1)
    assert network.backend == place


def test_values_too_large_for_single_precision_are_refused():
    with pytest.raises(ValueError, match=r"X must be finite, got NaN or infinity \(as float32\)"):
        NeuralNetwork(LAYERS, dtype="float32").train(with_value(GOOD_X, 1e300), GOOD_Y, 0.1)


def test_arrays_of_a_foreign_library_are_refused():
    class Foreign:
        ndim = 2

        def __dlpack__(self): ...

    Foreign.__module__ = "tinygrad.tensor"
    with pytest.raises(
        TypeError, match=r"X: an array must be of a library with a backend \(numpy, cupy, .* got one of tinygrad"
    ):
        NeuralNetwork(LAYERS).train(Foreign(), GOOD_Y, 0.1)


@pytest.mark.parametrize(("arguments", "error", "says"), [
    ({"layer_list": [3]}, ValueError, r"layer_list must have at least two sizes.*, got \[3\]"),
    ({"layer_list": []}, ValueError, "layer_list must have at least two sizes"),
    ({"layer_list": [2, 0, 1]}, ValueError, r"layer_list\[1\] must be a positive integer, got 0"),
    ({"layer_list": [2, -4, 1]}, ValueError, r"layer_list\[1\] must be a positive integer, got -4"),
    ({"layer_list": [2, 2.5, 1]}, TypeError, r"layer_list\[1\] must be a positive integer, got 2.5"),
    ({"layer_list": [2, "4", 1]}, TypeError, r"layer_list\[1\] must be a positive integer, got '4'"),
    ({"layer_list": 3}, TypeError, r"layer_list must be a list of layer sizes such as \[1, 10, 10, 1\], got 3"),
    ({"layer_list": "1 10 1"}, TypeError, "layer_list must be a list"),
    ({"layer_list": {2, 4, 1}}, TypeError, "layer_list must be a list"),
    ({"layer_list": np.array(3)}, TypeError, "layer_list must be a list"),
    ({"initializer": lambda rng, n_out, n_in: (np.ones((n_in, n_out)), np.ones((n_out, 1)))}, ValueError,
     r"W of initializer\[0\] must have the shape \(4, 2\), got \(2, 4\)"),
    ({"initializer": lambda rng, n_out, n_in: (np.ones((n_out, n_in)), np.full((n_out, 1), np.nan))}, ValueError,
     r"b of initializer\[0\] must be finite"),
    ({"activations": ["relu"]}, ValueError, "activations must be a list of 2, one for each of the layers"),
    ({"activations": "relu"}, TypeError, "activations must be a list with one for each of the 2 layers"),
    ({"activations": ["relu", "soft"]}, ValueError, r"activations\[1\] must be one of 'identity', .* got 'soft'"),
    ({"activations": ["relu", max]}, TypeError, r"activations\[1\] must be one of .*, or a custom Activation, got"),
    ({"loss": "mse"}, ValueError, r"loss must be one of .* got 'mse'; did you mean 'half_squared_error'\?"),
    ({"optimizer": "adamm"}, ValueError, r"optimizer must be one of .* got 'adamm'; did you mean 'adam' or 'adamw'\?"),
    ({"initializer": "zeros"}, ValueError, "initializer must be one of 'normal', .* got 'zeros'"),
    ({"initializer": 3}, TypeError, "initializer must be one of 'normal', .*, or a custom function, got 3"),
    ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
    ({"dtype": np.int64}, ValueError, "dtype must be .float32. or .float64., got <class .numpy.int64.>"),
    ({"seed": -1}, ValueError, "seed must not be negative, got -1"),
    ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5"),
    ({"device": "gpu"}, ValueError, "device must be 'cpu', 'cuda', 'cuda:N' .* got 'gpu'"),
    ({"device": "cuda:x"}, ValueError, "device must be .* got 'cuda:x'"),
    ({"device": "cpu:1"}, ValueError, "device must be .* got 'cpu:1'"),
    ({"device": ""}, ValueError, "device must be .* got ''"),
    ({"device": 0}, TypeError, "device must be a string such as 'cpu' or 'cuda:0', or a Backend, got 0"),
])  # fmt: skip
def test_invalid_settings_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        NeuralNetwork(**{"layer_list": LAYERS, **arguments})


@pytest.mark.parametrize(("arguments", "error", "says"), [
    ({"loss": "binary_crossentropy", "activations": ["relu", "identity"]}, ValueError,
     "outputs must be between 0 and 1, where the loss is defined, got an output activation .* from -inf to inf"),
    ({"loss": "poisson", "activations": ["relu", "tanh"]}, ValueError, "between 0 and inf, .* from -1 to 1"),
    ({"weight_decay": "much"}, TypeError, "weight_decay must be 0 or a positive number, got 'much'"),
    ({"l2": np.array([0.1, 0.2])}, TypeError, "l2 must be 0 or a positive number"),
    ({"l1": False}, TypeError, "l1 must be 0 or a positive number, got False"),
    ({"optimizer": Optimizer(lambda xp, theta: theta, OPTIMIZERS["sgd"].update)}, TypeError,
     "optimizer.init must return a tuple of arrays"),
    ({"initializer": normal(3e38), "dtype": "float32"}, ValueError, "what the initializer draws must be finite"),
])  # fmt: skip
def test_incompatible_settings_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        NeuralNetwork(**{"layer_list": LAYERS, "seed": 3, **arguments})


@pytest.mark.parametrize("name", [*NeuralNetwork(LAYERS).settings, "settings", "theta", "cache", "history"])
def test_the_settings_of_a_network_are_read_only(name):
    with pytest.raises(AttributeError):
        setattr(NeuralNetwork(LAYERS), name, "adam")


def test_a_custom_output_activation_accepts_any_targets():
    custom = Activation(lambda xp, Z: Z, lambda xp, dA, Z, A: dA)
    NeuralNetwork([2, 1], activations=[custom]).train(GOOD_X, GOOD_Y * 100, 1e-6, epochs=1, verbose=False)


def test_targets_may_exceed_the_bounds_by_rounding_errors():
    NeuralNetwork(LAYERS).train(GOOD_X, GOOD_Y + 1e-12, 0.1, epochs=1, verbose=False)


def test_numpy_integers_are_accepted():
    assert positive_integer("n", np.int32(3)) == 3
    assert NeuralNetwork(np.array(LAYERS)).layer_list == LAYERS
