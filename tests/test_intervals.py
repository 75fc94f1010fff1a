"""Intervals contain their share of new targets, also where the targets vary much."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from xpnet.backends import backend_of
from xpnet.estimators import MLPIntervalRegressor, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NETWORK = MLPRegressor(hidden_layer_sizes=(32,), solver="adamw", batch_size=32, n_iter_no_change=1000)
DIABETES = datasets.load_diabetes(return_X_y=True)


def heteroscedastic(seed, samples):
    rng = np.random.default_rng(seed)
    X = rng.uniform(0.0, 1.0, (samples, 1))
    return X, np.sin(4.0 * X[:, 0]) + (0.1 + X[:, 0]) * rng.standard_normal(samples)


def covered(regressor, X, y):
    _, intervals = regressor.predict_interval(X)
    return (intervals[:, 0] <= y) & (y <= intervals[:, 1])


@pytest.mark.slow
def test_the_mean_coverage_of_real_data_is_the_confidence_level():
    X, y = DIABETES[0] / DIABETES[0].std(axis=0), (DIABETES[1] - DIABETES[1].mean()) / DIABETES[1].std()
    coverages = []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(len(X))
        fit, calibration, test = order[:264], order[264:353], order[353:]
        network = clone(NETWORK).set_params(learning_rate_init=0.003, max_iter=60, random_state=seed)
        regressor = MLPIntervalRegressor(network).fit(X[fit], y[fit]).conformalize(X[calibration], y[calibration])
        coverages.append(covered(regressor, X[test], y[test]).mean())
    assert 0.88 <= np.mean(coverages) <= 0.92


def test_intervals_are_wider_where_the_targets_vary_more():
    """Intervals of constant width would contain 0.8 of the targets in the wide half."""
    coverages, in_wide_half = [], []
    for seed in range(20):
        X, y = heteroscedastic(seed, 3000)
        network = clone(NETWORK).set_params(learning_rate_init=0.01, max_iter=40, random_state=seed)
        regressor = MLPIntervalRegressor(network).fit(X[:1000], y[:1000]).conformalize(X[1000:2000], y[1000:2000])
        inside = covered(regressor, X[2000:], y[2000:])
        coverages.append(inside.mean())
        in_wide_half.append(inside[X[2000:, 0] > 0.5].mean())
    assert 0.88 <= np.mean(coverages) <= 0.92
    assert np.mean(in_wide_half) >= 0.87


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_intervals_contain_exactly_the_rank_of_the_samples_they_were_measured_on(level, backend, array, dtype):
    X, y = heteroscedastic(0, 200)
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0)
    regressor = MLPIntervalRegressor(network, confidence_level=level).fit(array(X[:100]), array(y[:100]))
    median, intervals = regressor.conformalize(array(X[100:]), array(y[100:])).predict_interval(array(X[100:]))
    assert backend_of(intervals) == backend_of(median) == backend
    low, high = backend.to_numpy(intervals).T
    targets = y[100:].astype(dtype)
    slack = 1e-5 * np.abs(targets)  # the sample at the end itself, rounded
    assert np.sum((low - slack <= targets) & (targets <= high + slack)) == math.ceil(round(level * 101, 9))
    assert np.all(low <= backend.to_numpy(median) + 1e-6) or regressor.correction_ < 0.0


def test_the_number_of_samples_must_reach_the_rank():
    X, y = heteroscedastic(0, 60)
    regressor = MLPIntervalRegressor(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0)).fit(X, y)
    regressor.conformalize(X[:9], y[:9])
    with pytest.raises(ValueError, match=r"conformalize needs 9 samples for confidence_level=0.9, got 8"):
        regressor.conformalize(X[:8], y[:8])


def test_nothing_is_predicted_before_it_is_calibrated():
    X, y = heteroscedastic(0, 60)
    regressor = MLPIntervalRegressor(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0))
    with pytest.raises(NotFittedError):
        regressor.conformalize(X, y)
    regressor.fit(X, y)
    assert regressor.predict(X).shape == (60,)
    with pytest.raises(NotFittedError, match="predict_interval needs conformalize"):
        regressor.predict_interval(X)
    regressor.conformalize(X, y).fit(X, y)
    with pytest.raises(NotFittedError, match="predict_interval needs conformalize"):
        regressor.predict_interval(X)


def test_wrong_arguments_are_refused():
    X, y = heteroscedastic(0, 60)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="The 'confidence_level' parameter"):
            MLPIntervalRegressor(confidence_level=level).fit(X, y)
    network = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2)
    with pytest.raises(ValueError, match="y must have one target per sample, got 2"):
        MLPIntervalRegressor(network).fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="y must have one target for each of the 60 samples of X"):
        MLPIntervalRegressor(network).fit(X, y).conformalize(X, y[:5])
    with pytest.raises(ValueError, match="y must be finite"):
        MLPIntervalRegressor(network).fit(X, y).conformalize(X, np.where(y > 0, np.nan, y))


def test_a_fit_that_fails_leaves_the_last_one():
    X, y = heteroscedastic(0, 60)
    regressor = MLPIntervalRegressor(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0))
    _, expected = regressor.fit(X, y).conformalize(X, y).predict_interval(X)
    with pytest.raises(ValueError, match="y must have one target per sample, got 2"):
        regressor.fit(X, np.stack([y, y], axis=1))
    np.testing.assert_array_equal(regressor.predict_interval(X)[1], expected)
