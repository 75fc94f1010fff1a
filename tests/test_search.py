"""A search trains all networks together, and its scores are those of scikit-learn's search."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy import sparse
from scipy.stats import loguniform
from sklearn import config_context, datasets, linear_model, neural_network
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import Activation
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


# ---- A network is taken over only by one with the same parameters and the same data


def equal_searches(estimator, grid, data, params=(), **settings):
    settings = {"cv": 3, "error_score": "raise", "return_train_score": True, **settings}
    return [kind(estimator, grid, **settings).fit(*data, **dict(params)) for kind in (MLPGridSearchCV, GridSearchCV)]


class Stacked(TransformerMixin, BaseEstimator):
    """Adds the probabilities that a network predicts to the inputs."""

    def __init__(self, network):
        self.network = network

    def fit(self, X, y):
        self.network_ = clone(self.network).fit(X, y)
        return self

    def transform(self, X):
        return np.concatenate([X, self.network_.predict_proba(X)], axis=1)


class Permuted(TransformerMixin, BaseEstimator):
    """Permutes the columns, differently in each fit."""

    drawn = np.random.default_rng(0)

    def fit(self, X, y=None):
        self.columns_ = self.drawn.permutation(X.shape[1])
        return self

    def transform(self, X):
        return X[:, self.columns_]


@pytest.mark.parametrize("alike", [True, False], ids=["with the same parameters", "with others"])
def test_networks_within_other_steps_are_trained(alike):
    network = MLPClassifier(**CLASSIFIER)
    pipeline = make_pipeline(Stacked(clone(network).set_params(alpha=1e-4 if alike else 0.3)), network)
    assert_equal_results(*equal_searches(pipeline, {"mlpclassifier__alpha": [1e-4, 1.0]}, IRIS))


def test_a_network_is_scored_with_the_transform_that_it_was_trained_with():
    classifier = MLPClassifier((10,), max_iter=150, learning_rate_init=0.05, random_state=0)
    pipeline = make_pipeline(StandardScaler(), Permuted(), classifier)
    search = MLPGridSearchCV(pipeline, {"mlpclassifier__alpha": [0.0, 1e-4]}, cv=3, return_train_score=True).fit(*WINE)
    assert min(search.cv_results_["mean_train_score"]) > 0.99
    assert min(search.cv_results_["mean_test_score"]) > 0.9


@pytest.mark.parametrize("routed", [False, True], ids=["by prefix", "routed"])
def test_weights_reach_the_network_of_a_pipeline(routed):
    X, y = IRIS
    weight, network = np.where(y == 2, 0.01, 1.0), MLPClassifier(**CLASSIFIER)
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__learning_rate_init": RATES}
    with config_context(enable_metadata_routing=routed):
        if routed:
            network.set_fit_request(sample_weight="importance").set_score_request(sample_weight=True)
        params = {"importance" if routed else "mlpclassifier__sample_weight": weight}
        assert_equal_results(*equal_searches(make_pipeline(StandardScaler(), network), grid, (X, y), params))


def test_groups_and_weights_are_routed():
    params, grid = {"weight": np.linspace(0.0, 3.0, 150), "groups": np.arange(150) % 5}, {"alpha": [0.0, 1.0]}
    with config_context(enable_metadata_routing=True):
        network = MLPClassifier(**CLASSIFIER).set_fit_request(sample_weight="weight")
        network.set_score_request(sample_weight=False)
        assert_equal_results(*equal_searches(network, grid, IRIS, params, cv=GroupKFold(3)))


class Fails(TransformerMixin, BaseEstimator):
    """Cannot be fitted to the last samples."""

    def fit(self, X, y=None):
        if X[-1, 0] == IRIS[0][-1, 0]:
            msg = "no"
            raise ValueError(msg)
        return self

    def transform(self, X):
        return X


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_step_that_fails_in_a_fold_is_reported_as_by_scikit_learn():
    pipeline = make_pipeline(Fails(), MLPClassifier(**CLASSIFIER))
    grid, settings = {"mlpclassifier__alpha": [0.0, 1.0]}, {"cv": KFold(3), "refit": False}
    results = []
    for kind in (MLPGridSearchCV, GridSearchCV):
        with pytest.warns(FitFailedWarning, match="4 fits failed out of a total of 6"):
            results.append(kind(pipeline, grid, **settings).fit(*IRIS).cv_results_)
    for name in ("split0_test_score", "split2_test_score"):
        np.testing.assert_array_equal(results[0][name], results[1][name])
    assert np.isfinite(results[0]["split2_test_score"]).all()


def test_balanced_classes_are_those_of_each_fold():
    X, y = IRIS[0][:110], IRIS[1][:110]
    classifier = MLPClassifier(**CLASSIFIER, class_weight="balanced")
    folds = KFold(3, shuffle=True, random_state=0)
    assert_equal_results(*equal_searches(classifier, {"alpha": [0.0, 1.0], "max_iter": [8]}, (X, y), cv=folds))


FOLDS = {
    "lists": lambda train, test: (train.tolist(), test.tolist()),
    "masks": lambda train, test: (np.isin(np.arange(150), train), np.isin(np.arange(150), test)),
    "negative": lambda train, test: (train - 150, test - 150),
}


@pytest.mark.parametrize("form", FOLDS.values(), ids=FOLDS)
def test_folds_can_be_lists_masks_and_negative_rows(form):
    folds = [form(*fold) for fold in KFold(3, shuffle=True, random_state=0).split(IRIS[0])]
    assert_equal_results(*equal_searches(MLPClassifier(**CLASSIFIER), {"alpha": [0.0, 1.0]}, IRIS, cv=folds))


@pytest.mark.parametrize(
    "given", [sparse.csr_matrix, sparse.coo_array, pd.DataFrame, lambda X: X.tolist()], ids=["csr", "coo", "df", "list"]
)
def test_data_of_every_kind_is_searched(given):
    X, Y = np.round(IRIS[0]), np.eye(3, dtype=int)[IRIS[1]]
    classifier, grid = MLPClassifier(**CLASSIFIER), {"alpha": [1e-4, 1.0]}
    assert_equal_results(*equal_searches(classifier, grid, (given(X), IRIS[1])), tolerance=1e-9)
    Y = sparse.csr_matrix(Y) if given is sparse.csr_matrix else Y
    assert_equal_results(*equal_searches(classifier, grid, (given(X), Y), cv=KFold(3, shuffle=True, random_state=0)))


def test_a_grid_may_replace_the_network_and_have_functions():
    pipeline = Pipeline([("scaler", StandardScaler()), ("last", MLPClassifier(**CLASSIFIER))])
    logistic = linear_model.LogisticRegression()
    grid = [{"last": [logistic], "last__C": [0.1, 1.0]}, {"last__alpha": [0.0, 1.0], "scaler": ["passthrough"]}]
    assert_equal_results(*equal_searches(pipeline, grid, IRIS))
    custom = Activation(lambda xp, Z: xp.tanh(Z), lambda xp, dA, Z, A: dA * (1.0 - A * A))
    grid = {"activation": [custom, "relu"], "class_weight": [None, {0: 2.0, 1: 1.0, 2: 1.0}]}
    assert_equal_results(*equal_searches(MLPClassifier(**CLASSIFIER), grid, IRIS))


def test_every_network_of_a_search_is_trained_once(monkeypatch):
    fits, original = [], fitting.Fitting.run
    monkeypatch.setattr(
        fitting.Fitting, "run", lambda self, *args: (fits.append(len(self.courses)), original(self, *args))[1]
    )
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**CLASSIFIER))
    grid = {"mlpclassifier__alpha": [0.0, 1.0], "mlpclassifier__random_state": [0, None, np.random.RandomState(1)]}
    with parallel_config(backend="threading", n_jobs=2):
        MLPGridSearchCV(pipeline, grid, cv=3, refit=False).fit(*IRIS)
    assert fits == [3, 3] * 3  # a fold at a time, in two threads


def test_lbfgs_that_has_not_converged_is_told_of():
    classifier = MLPClassifier(**{**CLASSIFIER, "solver": "lbfgs", "max_iter": 2})
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        MLPGridSearchCV(classifier, {"alpha": [0.0, 1.0]}, cv=3, refit=False).fit(*IRIS)


# ---- A search is one of scikit-learn's


def test_a_search_is_copied_and_pickled_and_its_splitter_is_kept():
    cv = KFold(3, shuffle=True, random_state=0)
    search = MLPGridSearchCV(MLPClassifier(**CLASSIFIER), {"alpha": [0.0, 1.0]}, cv=cv, n_jobs=2).fit(*IRIS)
    for other in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
        np.testing.assert_array_equal(other.predict(IRIS[0]), search.predict(IRIS[0]))
    assert search.cv is cv
    assert search.n_jobs == 2


def test_a_search_in_folds_is_that_of_scikit_learn():
    scores = [
        cross_val_score(kind(MLPClassifier(**CLASSIFIER), {"alpha": [0.0, 1.0]}, cv=2), *IRIS, cv=3, n_jobs=2)
        for kind in (MLPGridSearchCV, GridSearchCV)
    ]
    np.testing.assert_array_equal(*scores)


def test_candidates_are_drawn_before_folds():
    results = []
    for kind in (MLPRandomizedSearchCV, RandomizedSearchCV):
        rng = np.random.RandomState(0)
        folds, distributions = KFold(3, shuffle=True, random_state=rng), {"alpha": loguniform(1e-5, 1.0)}
        search = kind(MLPClassifier(**CLASSIFIER), distributions, n_iter=3, cv=folds, random_state=rng)
        results.append(search.fit(*IRIS).cv_results_)
    assert results[0]["params"] == results[1]["params"]
    np.testing.assert_array_equal(results[0]["mean_test_score"], results[1]["mean_test_score"])


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_a_column_of_labels_in_folds_without_a_class():
    X, y = IRIS
    grid = {"alpha": [1e-4, 1.0]}
    assert_equal_results(*equal_searches(MLPClassifier(**CLASSIFIER), grid, (X, y[:, None]), cv=KFold(3)))


class Doubled(MLPRegressor):
    """Learns twice the targets."""

    def _encoded(self, y, **options):
        return super()._encoded(2.0 * y, **options)


def test_subclasses_train_by_themselves():
    settings = {"hidden_layer_sizes": (6,), "max_iter": 10, "random_state": 0}
    pipeline = Pipeline([("last", MLPRegressor(**settings))])
    grid = {"last": [MLPRegressor(**settings), Doubled(**settings)]}
    search, expected = equal_searches(pipeline, grid, DIABETES)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, expected.cv_results_["mean_test_score"], rtol=1e-9)
    assert scores[0] != scores[1]


@pytest.mark.parametrize("cv", [1, "a"])
def test_invalid_splitters_are_refused_as_by_scikit_learn(cv):
    with pytest.raises(ValueError, match="cv") as expected:
        GridSearchCV(MLPClassifier(**CLASSIFIER), {"alpha": [0.0]}, cv=cv).fit(*IRIS)
    with pytest.raises(type(expected.value), match="cv"):
        MLPGridSearchCV(MLPClassifier(**CLASSIFIER), {"alpha": [0.0]}, cv=cv).fit(*IRIS)
