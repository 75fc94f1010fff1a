"""The parameters of a network are one vector, and its weights and biases are views into it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import NeuralNetwork
from xpnet.core.parameters import Layout, flatten

architectures = st.lists(st.integers(1, 6), min_size=2, max_size=6)


@given(architectures)
def test_the_vector_holds_every_weight_and_bias_once(layer_list):
    layout = Layout(layer_list)
    assert layout.size == sum(n_out * (n_in + 1) for n_in, n_out in pairwise(layer_list))
    theta = np.arange(layout.size)
    seen = np.concatenate([array.ravel() for layer in layout.layers(np, theta) for array in layer])
    np.testing.assert_array_equal(seen, theta)


@given(architectures, st.lists(st.integers(1, 3), max_size=2))
def test_flatten_inverts_layers_for_any_leading_axes(layer_list, ensemble_shape):
    layout = Layout(layer_list)
    theta = np.random.default_rng(0).standard_normal((*ensemble_shape, layout.size))
    layers = layout.layers(np, theta)
    assert [W.shape for W, _ in layers] == [(*ensemble_shape, n_out, n_in) for n_in, n_out in pairwise(layer_list)]
    assert [b.shape for _, b in layers] == [(*ensemble_shape, n_out, 1) for n_out in layer_list[1:]]
    np.testing.assert_array_equal(flatten(np, [array for layer in layers for array in layer]), theta)


def test_flatten_works_on_every_backend(xp, array, assert_close, rng):
    layout = Layout([3, 2, 1])
    for theta in (rng.standard_normal(layout.size), rng.standard_normal((4, layout.size))):
        layers = layout.layers(xp, array(theta))
        assert_close(flatten(xp, [each for layer in layers for each in layer]), theta)


@pytest.fixture
def parameters(backend, dtype, array):
    network = NeuralNetwork([2, 3, 1], device=backend, dtype=dtype)
    network.parameters = {
        name: network.parameters.layout.view(np, np.arange(13.0), name) for name in network.parameters
    }
    return network.parameters


def test_parameters_have_the_documents_names_in_its_order(parameters):
    assert list(parameters) == ["W1", "b1", "W2", "b2"]
    assert len(parameters) == 4


def test_a_parameter_is_a_part_of_the_vector(parameters, assert_close):
    assert_close(parameters["W1"], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    assert_close(parameters["b2"], [[12.0]])


def test_assigning_a_parameter_makes_a_new_vector(parameters, array, assert_close):
    before = parameters.theta
    parameters["b1"] = [[60.0], [70.0], [80.0]]
    assert_close(parameters.theta, [0, 1, 2, 3, 4, 5, 60, 70, 80, 9, 10, 11, 12])
    assert_close(before, np.arange(13.0))


def test_changing_a_parameter_in_place_changes_the_vector(parameters, backend, assert_close):
    if backend.name == "jax":
        pytest.skip("the arrays of JAX are immutable")
    W2 = parameters["W2"]
    W2 += 1.0
    assert_close(parameters.theta[9:12], [10.0, 11.0, 12.0])


def test_an_operator_changes_the_vector_on_every_backend(parameters, assert_close):
    parameters["W2"] += 1.0
    assert_close(parameters.theta[9:12], [10.0, 11.0, 12.0])


def test_an_unknown_name_lists_the_known_ones(parameters):
    with pytest.raises(KeyError, match="the name of a parameter must be one of W1, b1, W2, b2, got 'W3'"):
        parameters["W3"]


@pytest.mark.parametrize(("value", "error", "says"), [
    (np.full((3, 1), np.nan), ValueError, "b1 must be finite"),
    (np.ones((3, 1)) * 1j, TypeError, "b1 must hold real numbers, got an array of complex128"),
    ([["1"], ["2"], ["3"]], TypeError,
     r"b1 cannot be converted to an array: it holds '1' at \[0, 0\], which is not a number"),
])  # fmt: skip
def test_a_value_that_is_not_a_number_is_refused(value, error, says, parameters, backend):
    before = backend.to_numpy(parameters.theta).copy()
    with pytest.raises(error, match=says):
        parameters["b1"] = value
    np.testing.assert_array_equal(backend.to_numpy(parameters.theta), before)


def test_a_value_of_another_shape_is_refused(parameters, backend):
    before = backend.to_numpy(parameters.theta).copy()
    with pytest.raises(ValueError, match=r"b1 must have the shape \(3, 1\), got \(3,\)"):
        parameters["b1"] = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(backend.to_numpy(parameters.theta), before)


def test_parameters_print_like_a_dict(parameters):
    text = repr(parameters)
    assert text.startswith("{'W1': ")
    assert text.endswith("}")
    assert all(f"{name!r}: " in text for name in parameters)
