"""Initial weights are drawn on the host, layer by layer, in the document's order."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.initializers import INITIALIZERS, normal


def test_normal_draws_weights_then_biases():
    W, b = normal(0.1)(np.random.default_rng(5), 4, 3)
    again = np.random.default_rng(5)
    np.testing.assert_array_equal(W, again.standard_normal((4, 3)) * 0.1)
    np.testing.assert_array_equal(b, again.standard_normal((4, 1)) * 0.1)


def test_the_default_scale_is_the_documents(rng):
    W, b = INITIALIZERS["normal"](rng, 400, 300)
    assert abs(W.std() - 0.1) < 0.001
    assert abs(b.std() - 0.1) < 0.02
    assert W.dtype == b.dtype == np.float64


@pytest.mark.parametrize(("name", "variance"), [
    ("glorot_uniform", 2 / 700), ("glorot_normal", 2 / 700), ("he_uniform", 2 / 300), ("he_normal", 2 / 300),
    ("lecun_uniform", 1 / 300), ("lecun_normal", 1 / 300),
])  # fmt: skip
def test_the_others_have_their_variance_and_biases_of_zero(name, variance, rng):
    W, b = INITIALIZERS[name](rng, 400, 300)
    assert W.shape == (400, 300)
    assert W.var() == pytest.approx(variance, rel=0.02)
    assert abs(W.mean()) < 0.001
    assert b.tolist() == [[0.0]] * 400
    if name.endswith("uniform"):
        assert np.abs(W).max() == pytest.approx(np.sqrt(3 * variance), rel=0.01)
    else:
        assert np.abs(W).max() > 3.5 * np.sqrt(variance)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_stream_gives_the_same_layer(name):
    one, other = (INITIALIZERS[name](np.random.default_rng(3), 4, 2) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    assert all(array.dtype == np.float64 for array in one)
