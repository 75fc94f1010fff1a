"""Activations return their formula and its derivative, on every backend, without overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from document import Document
from hypothesis import given
from hypothesis import strategies as st

from xpnet.activations import ACTIVATIONS

FORMULAS = {
    "identity": lambda Z: Z,
    "relu": lambda Z: np.where(Z > 0, Z, 0),
    "sigmoid": lambda Z: 1 / (1 + np.exp(-Z)),
    "leaky_relu": lambda Z: np.where(Z > 0, Z, 0.01 * Z),
    "elu": lambda Z: np.where(Z > 0, Z, np.exp(Z) - 1),
    "gelu": lambda Z: 0.5 * Z * (1 + np.tanh(np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))),
    "silu": lambda Z: Z / (1 + np.exp(-Z)),
    "softplus": lambda Z: np.log(1 + np.exp(Z)),
    "exp": np.exp,
    "tanh": lambda Z: (np.exp(2 * Z) - 1) / (np.exp(2 * Z) + 1),
    "softmax": lambda Z: np.exp(Z) / np.exp(Z).sum(axis=-2, keepdims=True),
}
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def test_every_activation_has_a_formula_here():
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@every_activation
def test_forward_equals_the_formula(name, xp, array, assert_close, rng):
    Z = rng.standard_normal((2, 4, 5))
    assert_close(ACTIVATIONS[name].forward(xp, array(Z)), FORMULAS[name](Z), rtol=1e-5)


@pytest.mark.float64
@every_activation
def test_backward_agrees_with_finite_differences(name, xp, backend, array, rng):
    activation = ACTIVATIONS[name]
    Z, direction, dA = (rng.standard_normal((3, 4, 5)) for _ in range(3))
    h = 1e-6

    def forward(Z):
        return backend.to_numpy(activation.forward(xp, array(Z)))

    numeric = np.sum(dA * (forward(Z + h * direction) - forward(Z - h * direction)) / (2 * h))
    dZ = activation.backward(xp, array(dA), array(Z), array(forward(Z)))
    assert np.sum(backend.to_numpy(dZ) * direction) == pytest.approx(numeric, rel=1e-7, abs=1e-8)


@every_activation
def test_extreme_input_gives_finite_output_within_the_bounds(name, backend, xp, array, assert_close):
    Z = array([[-1e4, -800.0, -90.0, -1.0, 0.0, 1.0, 90.0, 800.0, 1e4], [1e4, 1, 1, 1, 0, -1, -1, -1, -1e4]])
    activation = ACTIVATIONS[name]
    A = activation.forward(xp, Z)
    dZ = activation.backward(xp, xp.ones_like(A), Z, A)
    low, high = activation.bounds
    values = backend.to_numpy(A)
    assert np.all(np.isfinite(values))
    assert np.all((low <= values) & (values <= high))
    assert np.all(np.isfinite(backend.to_numpy(dZ)))


@given(st.floats(-709, 1e300))
def test_sigmoid_equals_the_documents_bit_for_bit_where_that_does_not_overflow(z):
    assert ACTIVATIONS["sigmoid"].forward(np, np.asarray([[z]]))[0, 0] == Document({}).sigmoid(z)


def test_sigmoid_is_nearly_zero_where_the_documents_overflows():
    assert 0 < ACTIVATIONS["sigmoid"].forward(np, np.asarray([[-1e6]]))[0, 0] < 1e-300


def test_relu_has_derivative_zero_at_zero_as_in_the_documents_code(xp, array, assert_close):
    zero = array([[0.0]])
    relu = ACTIVATIONS["relu"]
    assert_close(relu.backward(xp, array([[7.0]]), zero, relu.forward(xp, zero)), [[0.0]])


def test_softmax_of_a_sample_sums_to_one(xp, array, assert_close, rng):
    A = ACTIVATIONS["softmax"].forward(xp, array(rng.standard_normal((3, 10, 7)) * 1e3))
    assert_close(xp.sum(A, axis=-2), np.ones((3, 7)))


def test_activations_propagate_nan(xp, array, backend):
    for name, activation in ACTIVATIONS.items():
        A = activation.forward(xp, array([[math.nan]]))
        assert np.isnan(backend.to_numpy(A)).all(), name


@every_activation
def test_the_bounds_are_the_smallest_and_largest_values(name):
    Z = np.concatenate([np.linspace(-50, 50, 1_000_001), [-1e9, 1e9]])[None, :]
    A = ACTIVATIONS[name].forward(np, np.concatenate([Z, 0 * Z]))[0]
    for bound, value in zip(ACTIVATIONS[name].bounds, (A.min(), A.max()), strict=True):
        assert value == pytest.approx(bound, abs=1e-6) if np.isfinite(bound) else value * np.sign(bound) > 1e6


@pytest.mark.parametrize("size", [1e20, 3e38])
@every_activation
def test_extremely_large_input_gives_finite_output_within_the_bounds(name, size, backend, xp, array):
    Z = array([[-size, size]])
    activation = ACTIVATIONS[name]
    with backend.on_device():
        A = activation.forward(xp, Z)
        dZ = activation.backward(xp, xp.ones_like(A), Z, A)
    low, high = activation.bounds
    values = backend.to_numpy(A)
    assert np.all((low <= values) & (values <= high))
    assert np.all(np.isfinite(backend.to_numpy(dZ)))
