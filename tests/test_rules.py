"""Optimizers and losses equal those of scikit-learn, and the gradients of losses are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from xpnet.estimators import rules

RATES = [0.1, 0.1, 0.02, 0.004, 0.3]
OPTIMIZERS = {
    "sgd": (rules.sgd(0.0, False), lambda theta: SGDOptimizer([theta], momentum=0.0, nesterov=False)),
    "momentum": (rules.sgd(0.9, False), lambda theta: SGDOptimizer([theta], momentum=0.9, nesterov=False)),
    "nesterov": (rules.sgd(0.9, True), lambda theta: SGDOptimizer([theta], momentum=0.9, nesterov=True)),
    "adam": (rules.adam(0.9, 0.999, 1e-8), lambda theta: AdamOptimizer([theta])),
    "adam without memory": (rules.adam(0.0, 0.0, 0.1), lambda theta: AdamOptimizer([theta], 1.0, 0.0, 0.0, 0.1)),
}


@pytest.mark.parametrize(("ours", "theirs"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_with_changing_rates_equal_scikit_learns(ours, theirs, xp, array, assert_close, rng):
    expected = rng.standard_normal(6)
    theta, reference = array(expected), theirs(expected)
    state = ours.init(xp, theta)
    for rate in RATES:
        gradient = rng.standard_normal(6)
        reference.learning_rate = reference.learning_rate_init = rate
        reference.update_params([expected], [gradient.copy()])
        theta, state = ours.update(xp, theta, array(gradient), state, array(rate))
        assert_close(theta, expected, rtol=1e-5 if str(theta.dtype).endswith("32") else 1e-12)


QUANTILES = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=3)


@given(quantiles=QUANTILES, outputs=st.integers(1, 2), seed=st.integers(0, 100))
def test_the_quantile_loss_is_scikit_learns_and_has_the_right_gradient(quantiles, outputs, seed):
    rng, loss = np.random.default_rng(seed), rules.quantile_loss(tuple(quantiles))
    A, Y = rng.standard_normal((2, outputs * len(quantiles), 5))
    blocks = zip(quantiles, np.split(A, len(quantiles)), np.split(Y, len(quantiles)), strict=True)
    expected = sum(mean_pinball_loss(y.T, a.T, alpha=q, multioutput="raw_values").sum() for q, a, y in blocks)
    assert np.mean(loss.value(np, A, Y)) == pytest.approx(expected)
    direction, h = rng.standard_normal(A.shape), 1e-7
    slope = (loss.value(np, A + h * direction, Y) - loss.value(np, A - h * direction, Y)) / (2 * h)
    near = np.abs(A - Y).min(axis=0) < 1e-6  # the corner of the loss
    np.testing.assert_allclose(slope[~near], np.sum(loss.gradient(np, A, Y) * direction, axis=0)[~near], atol=1e-5)


def test_the_quantile_loss_runs_on_every_backend(xp, array, assert_close, rng):
    A, Y = rng.standard_normal((2, 4, 5))
    loss = rules.quantile_loss((0.1, 0.9))
    assert_close(loss.value(xp, array(A), array(Y)), loss.value(np, A, Y), rtol=1e-5)
    assert_close(loss.gradient(xp, array(A), array(Y)), loss.gradient(np, A, Y), rtol=1e-5)


def test_the_squared_error_reports_the_mean_over_the_outputs_and_descends_their_sum(rng):
    A, Y = rng.standard_normal((2, 3, 5))
    np.testing.assert_allclose(rules.squared_error.value(np, A, Y), 0.5 * np.mean((A - Y) ** 2, axis=0))
    np.testing.assert_allclose(rules.squared_error.gradient(np, A, Y), A - Y)
