"""The estimators pass scikit-learn's own tests: its checks of estimators, and the tests of its networks."""

from __future__ import annotations

import inspect
import re
import unittest

import numpy as np
import pytest
import sklearn
from sklearn.neural_network.tests import test_mlp as tests_of_scikit_learn
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnet.estimators import MLPClassifier, MLPIntervalRegressor, MLPRegressor

# Most of scikit-learn's tests end before the training converges.
pytestmark = [pytest.mark.filterwarnings("ignore")]

ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPRegressor(max_iter=100),
    MLPIntervalRegressor(MLPRegressor(max_iter=100, random_state=0)),
]
SKIPPED = r"is not (installed|available)|Skipping (MPS|XPU) device test|does not have a decision_function method"


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_of_estimators_pass(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as skipped:
        if not re.search(SKIPPED, str(skipped)):
            raise AssertionError from skipped
    except RuntimeError as error:
        if type(error).__name__ != "CUDARuntimeError":
            raise
        pytest.skip("CuPy is installed, but finds no GPU")
    except AssertionError as error:  # since version 1.8 labels may be on the host
        if not (sklearn.__version__.startswith("1.7.") and "'classes_' attribute is in wrong" in str(error)):
            raise


# ---- The tests of scikit-learn's networks

OF_PRIVATE_NAMES = {
    "test_fit",
    "test_gradient",
    "test_learning_rate_warmstart",
    "test_adaptive_learning_rate",
    "test_n_iter_no_change",
    "test_n_iter_no_change_inf",
}


def tests_with_other_imports():
    """Return the tests of scikit-learn's networks, as they are, but for the networks that they import."""
    source = inspect.getsource(tests_of_scikit_learn)
    imported = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert imported in source
    names = {"__name__": __name__}
    source = source.replace(imported, "from xpnet.estimators import MLPClassifier, MLPRegressor")
    exec(compile(source, tests_of_scikit_learn.__file__, "exec"), names)
    tests = {name: value for name, value in names.items() if name.startswith("test_")}
    assert len(tests) > 40
    assert set(tests) >= OF_PRIVATE_NAMES
    return {name: value for name, value in tests.items() if name not in OF_PRIVATE_NAMES}


globals().update(tests_with_other_imports())


@pytest.fixture
def global_random_seed():
    return 0


# ---- What those of private names ask, asked of public names

X = np.array([[3.0, 2.0], [1.0, 6.0], [5.0, 6.0], [-2.0, -4.0]])
Y = np.array([1, 1, 1, 0])


def test_a_warm_start_begins_with_the_initial_learning_rate_and_partial_fit_does_not():
    for schedule in ("invscaling", "constant", "adaptive"):
        classifier = MLPClassifier(
            hidden_layer_sizes=4, solver="sgd", learning_rate=schedule, max_iter=1, power_t=0.25, warm_start=True
        ).fit(X, Y)
        before = classifier.learning_rate_
        classifier.fit(X, Y)
        steps = {"constant": [1.0, 1.0], "adaptive": [1.0, 1.0], "invscaling": [5.0**-0.25, 9.0**-0.25]}[schedule]
        np.testing.assert_allclose([before, classifier.learning_rate_], 0.001 * np.array(steps), rtol=1e-12)


def test_an_adaptive_learning_rate_decreases_until_the_training_ends():
    classifier = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive").fit(X, Y)
    assert classifier.n_iter_ < 3000
    assert classifier.learning_rate_ < 1e-6


@pytest.mark.parametrize("epochs", [2, 5, 10, 50])
def test_the_training_ends_after_more_epochs_without_improvement_than_are_allowed(epochs):
    settings = {"tol": 1e9, "solver": "sgd", "learning_rate_init": 0.001, "max_iter": 200, "random_state": 1}
    classifier = MLPClassifier(n_iter_no_change=epochs, **settings).fit(X, Y)
    assert classifier.n_iter_ == epochs + 2
    classifier = MLPClassifier(n_iter_no_change=np.inf, **{**settings, "max_iter": 70}).fit(X, Y)
    assert classifier.n_iter_ == 70
