"""Initial weights are drawn on the host, layer by layer, in the document's order."""

from __future__ import annotations

import numpy as np

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
