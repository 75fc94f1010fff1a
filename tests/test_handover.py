"""A trained estimator is taken over by one with equal parameters and equal data, and by no other."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from xpnet.estimators import MLPClassifier, MLPRegressor
from xpnet.estimators.handover import TRAINED, Trained, same
from xpnet.optimizers import sgd

X, Y, WEIGHT = np.arange(12.0).reshape(6, 2), np.arange(6.0), np.ones(6)
EQUAL = {
    "numbers": (0.1, 0.1),
    "tuples": ((3, 4), (3, 4)),
    "nothing": (None, None),
    "random states": (np.random.RandomState(3), np.random.RandomState(3)),
    "functions": (len, len),
    "functions with arguments": (partial(max, 1), partial(max, 1)),
    "optimizers": (sgd, copy.deepcopy(sgd)),
    "arrays": (X, X.copy()),
    "sparse matrices": (sparse.csr_matrix(X), sparse.csr_matrix(X)),
    "data frames": (pd.DataFrame(X), pd.DataFrame(X)),
    "lists": (X.tolist(), X.tolist()),
}
UNEQUAL = {
    "numbers": (0.1, 0.2),
    "types": (1, 1.0),
    "tuples": ((3, 4), (4, 3)),
    "random states": (np.random.RandomState(3), np.random.RandomState(4)),
    "functions": (lambda x: x, lambda x: x),
    "entries": (X, X + np.eye(6, 2)),
    "shapes": (X, X[:5]),
    "precisions": (X, X.astype("float32")),
    "NaN": (np.array([np.nan]), np.array([np.nan])),
    "sparse matrices": (sparse.csr_matrix(X), sparse.csr_matrix(X + np.eye(6, 2))),
    "data frames": (pd.DataFrame(X), pd.DataFrame(X, columns=["a", "b"])),
    "kinds": (X, X.tolist()),
    "lists of arrays": ([X], [X.copy()]),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_what_is_equal_is_the_same(pair):
    assert same(*pair)


@pytest.mark.parametrize("pair", UNEQUAL.values(), ids=UNEQUAL)
def test_what_may_differ_is_not_the_same(pair):
    assert not same(*pair)


def test_arrays_of_every_library_are_compared(array):
    assert same(array(X), array(X))
    assert not same(array(X), array(X + np.eye(6, 2)))
    assert not same(array(X), X.tolist())


def trained(estimator, *data):
    return estimator, estimator.get_params(deep=False), lambda: data


def test_an_estimator_is_taken_over_once():
    first, second = (MLPRegressor(hidden_layer_sizes=(2,), alpha=alpha) for alpha in (0.1, 0.2))
    results = Trained([trained(first, X, Y, None), trained(second, X, Y, WEIGHT)])
    assert results.of(MLPRegressor(hidden_layer_sizes=(2,), alpha=0.2), X, Y, None) is None  # other weights
    assert results.of(MLPRegressor(hidden_layer_sizes=(2,), alpha=0.1), X, -Y, None) is None
    assert results.of(MLPClassifier((2,), alpha=0.1), X, Y, None) is None
    assert results.of(MLPRegressor(hidden_layer_sizes=(2,), alpha=0.2), X.copy(), Y.copy(), WEIGHT) is second
    assert results.of(MLPRegressor(hidden_layer_sizes=(2,), alpha=0.2), X, Y, WEIGHT) is None
    assert results.of(MLPRegressor(hidden_layer_sizes=(2,), alpha=0.1), X, Y, None) is first


def test_data_that_cannot_be_had_is_not_the_same():
    def fails():
        raise IndexError

    results = Trained([(MLPRegressor(), MLPRegressor().get_params(), fails)])
    assert results.of(MLPRegressor(), X, Y, None) is None


def test_estimators_are_taken_over_only_in_the_context():
    regressor = MLPRegressor(hidden_layer_sizes=(2,), solver="lbfgs", max_iter=500, random_state=0).fit(X, Y)
    settings = {"hidden_layer_sizes": (2,), "solver": "lbfgs", "max_iter": 500, "random_state": 0}
    with Trained([trained(regressor, X, Y, None)]).taken_over():
        taken, other = MLPRegressor(**settings).fit(X, Y), MLPRegressor(**settings).fit(X, Y)
    assert TRAINED.get() is None
    assert taken.coefs_[0] is regressor.coefs_[0]
    assert other.coefs_[0] is not regressor.coefs_[0]
