"""A search trains all networks together, and its scores are those of scikit-learn's search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn import datasets, linear_model, neural_network
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet.estimators import MLPClassifier, MLPGridSearchCV, MLPRandomizedSearchCV, MLPRegressor, fitting

pytestmark = [pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

IRIS, WINE = datasets.load_iris(return_X_y=True), datasets.load_wine(return_X_y=True)
DIABETES = datasets.load_diabetes(return_X_y=True)
DIABETES = StandardScaler().fit_transform(DIABETES[0]), DIABETES[1] / 100.0
CLASSIFIER = {"hidden_layer_sizes": (6,), "max_iter": 8, "batch_size": 16, "random_state": 0}
RATES = [0.001, 0.01, 0.1]


def assert_equal_results(search, expected, *, tolerance=0.0):
    assert search.cv_results_.keys() == expected.cv_results_.keys()
    assert search.cv_results_["params"] == expected.cv_results_["params"]
    for name, values in expected.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(search.cv_results_[name], values, rtol=tolerance, atol=1e-12)
    assert search.best_params_ == expected.best_params_


SEARCHES = {
    "rates and penalties": ({}, {"alpha": [1e-4, 1.0], "learning_rate_init": RATES}),
    "sizes and activations": (
        {},
        {"hidden_layer_sizes": [(4,), (5, 3)], "activation": ["tanh", "relu"], "alpha": [0, 1]},
    ),
    "random states": ({}, {"random_state": [0, 1, 2, np.random.RandomState(3)]}),
    "batches": ({}, {"batch_size": [8, 150], "alpha": [0.0, 0.1]}),
    "early stopping": (
        {"early_stopping": True, "max_iter": 30, "n_iter_no_change": 2},
        {"learning_rate_init": RATES, "tol": [1e-4, 0.1]},
    ),
    "schedules": (
        {"solver": "sgd", "learning_rate_init": 0.05, "tol": 0.05, "max_iter": 25},
        {"learning_rate": ["constant", "adaptive", "invscaling"], "n_iter_no_change": [1, 3], "power_t": [0.3, 0.5]},
    ),
    "ensembles": ({"n_members": 2}, {"alpha": [1e-4, 1.0]}),
    "lbfgs": ({"solver": "lbfgs", "max_iter": 20}, {"alpha": [1e-4, 1.0]}),
    "lists of grids": ({}, [{"alpha": [1e-4, 1.0]}, {"learning_rate_init": RATES}]),
}


@pytest.mark.parametrize(("settings", "grid"), SEARCHES.values(), ids=SEARCHES)
@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger than sample size")
def test_the_scores_of_a_grid_are_those_of_scikit_learns_search(settings, grid):
    classifier = MLPClassifier(**{**CLASSIFIER, **settings})
    settings = {"cv": 4, "return_train_score": True}
    search, expected = (each(classifier, grid, **settings).fit(*IRIS) for each in (MLPGridSearchCV, GridSearchCV))
    assert_equal_results(search, expected)
    np.testing.assert_array_equal(search.predict_proba(IRIS[0]), expected.predict_proba(IRIS[0]))


def test_the_scores_are_those_over_scikit_learns_networks():
    grid = {"alpha": [1e-4, 1.0], "learning_rate_init": RATES}
    search = MLPGridSearchCV(MLPClassifier(**CLASSIFIER), grid, cv=3, n_jobs=2).fit(*IRIS)
    assert_equal_results(search, GridSearchCV(neural_network.MLPClassifier(**CLASSIFIER), grid, cv=3).fit(*IRIS))


def test_several_scores_of_a_regression_are_those_of_scikit_learns_search():
    settings = {"cv": 3, "scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2"}
    regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=10, random_state=0)
    grid = {"alpha": [1e-4, 1.0], "learning_rate_init": RATES}
    search, expected = (each(regressor, grid, **settings).fit(*DIABETES) for each in (MLPGridSearchCV, GridSearchCV))
    assert_equal_results(search, expected, tolerance=1e-9)
    assert search.multimetric_


def test_a_random_search_has_the_candidates_and_scores_of_scikit_learns():
    distributions = {"alpha": loguniform(1e-5, 1.0), "learning_rate_init": loguniform(1e-3, 1e-1)}
    settings = {"n_iter": 6, "cv": 3, "random_state": 1}
    classifier = MLPClassifier(**CLASSIFIER)
    search, expected = (
        each(classifier, distributions, **settings).fit(*IRIS) for each in (MLPRandomizedSearchCV, RandomizedSearchCV)
    )
    assert_equal_results(search, expected)


def test_the_steps_before_the_network_are_fitted_to_each_fold():
    pipeline = make_pipeline(StandardScaler(), SelectKBest(), MLPClassifier(**CLASSIFIER))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "selectkbest__k": [3, 8], "mlpclassifier__learning_rate_init": RATES}
    search, expected = (each(pipeline, grid, cv=3).fit(*WINE) for each in (MLPGridSearchCV, GridSearchCV))
    assert_equal_results(search, expected)


def test_weights_of_samples_are_those_of_the_folds():
    weight = np.random.default_rng(0).uniform(0.0, 3.0, len(IRIS[1]))
    grid, classifier = {"alpha": [1e-4, 1.0], "learning_rate_init": RATES}, MLPClassifier(**CLASSIFIER)
    search, expected = (
        each(classifier, grid, cv=3).fit(*IRIS, sample_weight=weight) for each in (MLPGridSearchCV, GridSearchCV)
    )
    assert_equal_results(search, expected)


@pytest.mark.parametrize(
    "cv", [KFold(3, shuffle=True), GroupKFold(3), "an iterator"], ids=["random", "groups", "iterator"]
)
def test_networks_are_scored_on_the_samples_that_they_have_not_seen(cv):
    X, y = np.random.default_rng(0).standard_normal((60, 20)), np.arange(60) % 2
    given = iter(list(KFold(3).split(X))) if cv == "an iterator" else cv
    classifier = MLPClassifier((30,), max_iter=150, learning_rate_init=0.02, random_state=0)  # it remembers samples
    search = MLPGridSearchCV(classifier, {"alpha": [0.0, 1e-3]}, cv=given, return_train_score=True)
    params = {"groups": np.arange(60) // 5} if isinstance(cv, GroupKFold) else {}
    results = search.fit(X, y, **params).cv_results_
    assert min(results["mean_train_score"]) > 0.95
    assert max(results["mean_test_score"]) < 0.8
    assert search.cv is given


def test_folds_without_a_class_are_trained_for_themselves():
    X, y = IRIS
    folds = [(np.arange(100), np.arange(100, 150)), (np.arange(50, 150), np.arange(50))]
    grid, classifier = {"alpha": [1e-4, 1.0]}, MLPClassifier(**CLASSIFIER)
    search, expected = (each(classifier, grid, cv=folds).fit(X, y) for each in (MLPGridSearchCV, GridSearchCV))
    assert_equal_results(search, expected)


def test_networks_that_differ_only_for_themselves_train_together(monkeypatch):
    sizes, original = [], fitting.Fitting.run
    monkeypatch.setattr(
        fitting.Fitting, "run", lambda self, *args: (sizes.append(len(self.courses)), original(self, *args))[1]
    )
    grid = {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": RATES, "hidden_layer_sizes": [(4,), (5,)]}
    MLPGridSearchCV(MLPClassifier(**CLASSIFIER), grid, cv=5, refit=False).fit(*IRIS)
    assert sizes == [45, 45]
    sizes.clear()
    MLPGridSearchCV(MLPClassifier(**CLASSIFIER), grid, cv=5, n_jobs=3, refit=False).fit(*IRIS)
    assert sorted(sizes) == [15] * 6


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_network_that_diverges_has_no_score():
    regressor = MLPRegressor(hidden_layer_sizes=(6,), solver="sgd", max_iter=10, random_state=0)
    grid = {"learning_rate_init": [0.001, 1e9]}
    with pytest.warns(FitFailedWarning, match="non-finite parameter weights"):
        search = MLPGridSearchCV(regressor, grid, cv=3).fit(*DIABETES)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPGridSearchCV(regressor, grid, cv=3, error_score="raise").fit(*DIABETES)


def test_networks_that_have_not_converged_are_told_of():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(8\) reached"):
        MLPGridSearchCV(MLPClassifier(**CLASSIFIER), {"alpha": [0.0, 1.0]}, cv=3, refit=False).fit(*IRIS)


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(
        TypeError, match=r"estimator must be an MLPClassifier or MLPRegressor .* got LogisticRegression"
    ):
        MLPGridSearchCV(linear_model.LogisticRegression(), {"C": [1.0]}).fit(*IRIS)
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        MLPGridSearchCV(MLPClassifier(**CLASSIFIER), {"nonsense": [1.0]}).fit(*IRIS)
    with pytest.raises(ValueError, match="The 'alpha' parameter of MLPClassifier"):
        MLPGridSearchCV(MLPClassifier(**CLASSIFIER), {"alpha": [-1.0]}, error_score="raise").fit(*IRIS)
