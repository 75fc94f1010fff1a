"""The estimators give scikit-learn's numbers, train where the data is, and can more."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn import config_context, datasets, neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.metrics import d2_pinball_score
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import Activation
from xpnet.backends import backend_of
from xpnet.core.epochs import NetworkChunk
from xpnet.estimators import MLPClassifier, MLPRegressor
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def bundled(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    y = y / y.std(axis=0) if name in ("diabetes", "linnerud") else y
    return StandardScaler().fit_transform(X), y


IRIS = bundled("iris")
REGRESSION = IRIS[0][:, :3], IRIS[0][:, 3]


# ---- The same numbers as scikit-learn's

SETS = {name: bundled(name) for name in ("iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud")}
SETS["multilabel"] = datasets.make_multilabel_classification(200, random_state=0)
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
CONFIGURATIONS = {
    "adam": {},
    "sgd": SGD,
    "plain momentum": {**SGD, "nesterovs_momentum": False},
    "no momentum": {**SGD, "momentum": 0.0, "alpha": 0.0},
    "adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
    "invscaling": {**SGD, "learning_rate": "invscaling"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.02},
    "batches of 32": {"activation": "tanh", "batch_size": 32, "alpha": 1.0},
    "two layers in order": {"activation": "logistic", "hidden_layer_sizes": (12, 7), "shuffle": False},
}


def both(data, sample_weight=None, **settings):
    """Return scikit-learn's network and xpnet's, fitted to the same data."""
    X, y = data
    settings = {"hidden_layer_sizes": (20,), "max_iter": 12, "random_state": 3, **settings}
    name = "MLPClassifier" if np.asarray(y).dtype.kind in "iU" else "MLPRegressor"
    own = MLPClassifier if name == "MLPClassifier" else MLPRegressor
    return [cls(**settings).fit(X, y, sample_weight) for cls in (getattr(neural_network, name), own)]


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger than sample size")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
@pytest.mark.parametrize("name", SETS)
def test_the_numbers_are_those_of_scikit_learn(name, settings, weighted):
    X, y = SETS[name]
    weight = np.random.default_rng(0).uniform(0.1, 3.0, len(X)) if weighted else None
    theirs, ours = both((X, y), weight, **settings)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    for attribute in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    for attribute in ("loss_", "best_loss_", "best_validation_score_", "validation_scores_"):
        actual, expected = getattr(ours, attribute), getattr(theirs, attribute)
        assert (actual is None) == (expected is None)
        if expected is not None:
            np.testing.assert_allclose(actual, expected, rtol=1e-9)
    for mine, others in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-9)
    np.testing.assert_array_equal(*[np.round(each.predict(X), 6) for each in (ours, theirs)])


@pytest.mark.parametrize("name", SETS)
def test_the_numbers_of_lbfgs_are_those_of_scikit_learn(name):
    theirs, ours = both(SETS[name], solver="lbfgs", alpha=0.1)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_the_numbers_in_single_precision_are_those_of_scikit_learn(name):
    X, y = SETS[name]
    theirs, ours = both((X.astype("float32"), y), batch_size=32)
    assert ours.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)


def test_the_poisson_loss_is_that_of_scikit_learn():
    X, y = SETS["diabetes"]
    theirs, ours = both((X, np.round(np.abs(y))), loss="poisson")
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


def test_partial_fits_are_those_of_scikit_learn():
    X, y = IRIS
    fitted = []
    for cls in (neural_network.MLPClassifier, MLPClassifier):
        classifier = cls((8,), random_state=0)
        for start in (0, 50, 100, 0):
            classifier.partial_fit(X[start : start + 50], y[start : start + 50], classes=[0, 1, 2])
        classifier.coefs_[0] = 0.5 * classifier.coefs_[0]  # those who assign parameters keep the optimizer's state
        fitted.append(classifier.partial_fit(X, y))
    np.testing.assert_allclose(fitted[1].loss_curve_, fitted[0].loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(fitted[1].predict_log_proba(X), fitted[0].predict_log_proba(X), rtol=1e-9)


def test_the_constructors_have_scikit_learns_parameters_at_the_same_positions_with_the_same_defaults():
    from inspect import signature

    for name, cls in (("MLPClassifier", MLPClassifier), ("MLPRegressor", MLPRegressor)):
        theirs, ours = (signature(each).parameters for each in (getattr(neural_network, name), cls))
        assert list(ours)[: len(theirs)] == list(theirs)
        for each, parameter in theirs.items():
            assert (ours[each].default, ours[each].kind) == (parameter.default, parameter.kind)


def test_what_is_printed_is_what_scikit_learn_prints(capsys):
    printed = []
    for cls in (neural_network.MLPClassifier, MLPClassifier):
        for settings in ({"early_stopping": True, "tol": 0.5}, {**SGD, "learning_rate": "adaptive", "tol": 0.5}):
            cls((4,), verbose=True, max_iter=60, n_iter_no_change=2, random_state=0, **settings).fit(*IRIS)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Setting learning rate to" in printed[0]
    assert "Stopping." in printed[0]


def test_a_compiled_fit_has_the_same_numbers():
    pytest.importorskip("numba")
    for settings in ({"early_stopping": True}, {**SGD, "learning_rate": "invscaling", "batch_size": 7}):
        settings = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0, **settings}
        eager, compiled = (MLPClassifier(compile=each, **settings).fit(*IRIS) for each in (False, True))
        np.testing.assert_allclose(compiled.loss_curve_, eager.loss_curve_, rtol=1e-9)
        assert compiled.validation_scores_ == eager.validation_scores_


# ---- Arrays of every library


@pytest.fixture
def fitted_on_numpy(dtype):
    return {
        cls: cls(hidden_layer_sizes=(6,), max_iter=5, random_state=0).fit(X.astype(dtype), y)
        for cls, (X, y) in ((MLPClassifier, IRIS), (MLPRegressor, REGRESSION))
    }


@pytest.mark.parametrize(
    ("cls", "data"), [(MLPClassifier, IRIS), (MLPRegressor, REGRESSION)], ids=["labels", "numbers"]
)
def test_the_network_trains_and_predicts_where_the_data_is(cls, data, backend, array, dtype, fitted_on_numpy):
    X, expected = array(data[0]), fitted_on_numpy[cls]
    y = backend.asarray(data[1].astype("int32")) if cls is MLPClassifier else array(data[1])
    estimator = clone(expected).fit(X, y)
    tolerance = {"float64": 1e-9, "float32": 1e-3}[dtype]
    np.testing.assert_allclose(estimator.loss_curve_, expected.loss_curve_, rtol=tolerance)
    for parameter in estimator.coefs_ + estimator.intercepts_:
        assert backend_of(parameter) == backend
    methods = ["predict"] + ["predict_proba", "predict_log_proba"] * (cls is MLPClassifier)
    for method in methods:
        predictions = getattr(estimator, method)(X)
        assert backend_of(predictions) == backend
        on_numpy = getattr(expected, method)(data[0].astype(dtype))
        np.testing.assert_allclose(backend.to_numpy(predictions), on_numpy, rtol=tolerance, atol=tolerance)
        if cls is MLPRegressor:
            assert predictions.dtype == X.dtype
    assert isinstance(estimator.score(X, y), float)
    assert estimator.score(X, y) == pytest.approx(expected.score(data[0].astype(dtype), data[1]), abs=tolerance)
    estimator.partial_fit(X, y)
    assert estimator.n_iter_ == 1


@pytest.mark.not_numpy
def test_nothing_but_losses_and_labels_leaves_the_device(backend, array, monkeypatch):
    transferred = []
    original = type(backend).to_numpy
    monkeypatch.setattr(type(backend), "to_numpy", lambda self, x: (transferred.append(x.shape), original(self, x))[1])
    regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, early_stopping=True, random_state=0)
    X, y = array(REGRESSION[0]), array(REGRESSION[1])
    regressor.fit(X, y)
    assert transferred == [(1,)] * 3  # the loss of each epoch
    transferred.clear()
    regressor.predict(X)
    assert not transferred
    classifier = MLPClassifier((6,), max_iter=3, random_state=0).fit(X, backend.asarray(IRIS[1].astype("int32")))
    assert transferred == [(150,)] + [(1,)] * 3  # the labels, to find the classes
    transferred.clear()
    classifier.predict(X)
    classifier.predict_proba(X)
    assert not transferred


@pytest.mark.not_numpy
def test_predictions_for_data_of_another_library_are_there_unless_arrays_are_dispatched(backend, array):
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=2, random_state=0).fit(array(X), array(y))
    assert isinstance(regressor.predict(X), np.ndarray)
    with config_context(array_api_dispatch=True):
        with pytest.raises(ValueError, match=r"MLPRegressor.predict\(\) must use the same namespace .* method to\(X\)"):
            regressor.predict(X)
        moved = regressor.to(X)
        np.testing.assert_allclose(moved.predict(X), backend.to_numpy(regressor.predict(array(X))), rtol=1e-4)
    assert isinstance(moved.coefs_[0], np.ndarray)
    assert backend_of(regressor.coefs_[0]) == backend
    moved.partial_fit(X, y)


@pytest.mark.not_numpy
def test_several_labels_are_predicted_where_the_data_is(array, backend):
    X, y = SETS["multilabel"]
    classifier, expected = (MLPClassifier((8,), **SHORT) for _ in range(2))
    labels = classifier.fit(array(X), array(y)).predict(array(X))
    assert backend_of(labels) == backend
    assert np.mean(backend.to_numpy(labels) == expected.fit(X, y).predict(X)) > 0.99
    assert classifier.score(array(X), array(y)) == pytest.approx(expected.score(X, y), abs=0.02)


def test_one_weight_for_all_samples_is_a_weight_of_each(array):
    X, y = REGRESSION
    one, each = (MLPRegressor(hidden_layer_sizes=(6,), alpha=1.0, **SHORT) for _ in range(2))
    one.fit(array(X), array(y), 3.0)
    np.testing.assert_allclose(one.loss_curve_, each.fit(X, y, np.full(len(y), 3.0)).loss_curve_, rtol=1e-4)


def test_string_labels_are_predicted_on_the_host(array):
    names = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
    classifier = MLPClassifier((6,), max_iter=2, random_state=0).fit(array(IRIS[0]), names)
    assert classifier.predict(array(IRIS[0])).dtype == names.dtype


def test_a_sparse_matrix_gives_the_same_network_and_is_dense_only_in_batches(monkeypatch):
    X, y = SETS["digits"]
    X = np.where(X > 0.5, X, 0.0)
    dense, rows = MLPClassifier((8,), max_iter=3, random_state=0).fit(X, y), []
    original = sparse.csr_matrix.toarray
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        monkeypatch.setattr(kind, "toarray", lambda self: (rows.append(self.shape[0]), original(self))[1])
        monkeypatch.setattr("xpnet.core.epochs.BLOCK", 2**17)
        monkeypatch.setattr("xpnet.estimators.base.BLOCK", 2**14)
        classifier = MLPClassifier((8,), max_iter=3, random_state=0).fit(kind(X), y)
        np.testing.assert_allclose(classifier.loss_curve_, dense.loss_curve_, rtol=1e-9)
        np.testing.assert_array_equal(classifier.predict(kind(X)), dense.predict(X))
    assert max(rows) <= 400


def test_data_frames_give_the_same_network_and_their_columns_are_checked():
    X, y = IRIS
    names = ["a", "b", "c", "d"]
    expected = MLPClassifier((6,), max_iter=3, random_state=0).fit(X, y)
    for frame in (pd.DataFrame(X, columns=names), pl.DataFrame(X, schema=names)):
        classifier = clone(expected).fit(frame, y)
        if isinstance(frame, pl.DataFrame) and sklearn.__version__.startswith("1.7."):  # which knows no names of polars
            continue
        assert classifier.feature_names_in_.tolist() == names
        np.testing.assert_array_equal(classifier.predict_proba(frame), expected.predict_proba(X))
        with pytest.raises(ValueError, match="feature names"):
            classifier.predict(frame[["b", "a", "c", "d"]])


def test_the_data_can_be_computed_elsewhere(backend):
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0, device=backend, dtype="float32")
    regressor.fit(*REGRESSION)
    assert backend_of(regressor.coefs_[0]) == backend
    assert isinstance(regressor.predict(REGRESSION[0]), np.ndarray)


# ---- More than scikit-learn's

SHORT = {"max_iter": 4, "random_state": 0}


def test_activations_can_differ_between_layers_and_be_custom():
    cube = Activation(lambda xp, Z: Z**3, lambda xp, dA, Z, A: 3.0 * dA * Z**2)
    regressor = MLPRegressor("squared_error", (5, 4), ["gelu", cube], **SHORT).fit(*REGRESSION)
    X, layers = REGRESSION[0], list(zip(regressor.coefs_, regressor.intercepts_, strict=True))
    hidden = X @ layers[0][0] + layers[0][1]
    hidden = 0.5 * hidden * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (hidden + 0.044715 * hidden**3)))
    hidden = (hidden @ layers[1][0] + layers[1][1]) ** 3
    np.testing.assert_allclose(regressor.predict(X), (hidden @ layers[2][0] + layers[2][1])[:, 0], rtol=1e-9)


@pytest.mark.parametrize("solver", [*OPTIMIZERS, OPTIMIZERS["rmsprop"]], ids=[*OPTIMIZERS, "custom"])
def test_every_optimizer_trains(solver):
    regressor = MLPRegressor(hidden_layer_sizes=(8,), solver=solver, max_iter=10, random_state=0).fit(*REGRESSION)
    assert regressor.loss_curve_[-1] < regressor.loss_curve_[0]


@pytest.mark.parametrize("loss", ["huber", "log_cosh", LOSSES["huber"]], ids=["huber", "log_cosh", "custom"])
def test_every_loss_trains(loss):
    regressor = MLPRegressor(loss, (8,), max_iter=10, random_state=0).fit(*REGRESSION)
    assert regressor.loss_curve_[-1] < regressor.loss_curve_[0]


def test_class_weights_multiply_the_weights_of_samples():
    X, y = IRIS
    weight = np.linspace(0.5, 1.5, len(y))
    by_class = MLPClassifier((6,), class_weight={0: 2.0, 1: 1.0, 2: 0.5}, **SHORT).fit(X, y, weight)
    by_sample = MLPClassifier((6,), **SHORT).fit(X, y, weight * np.array([2.0, 1.0, 0.5])[y])
    np.testing.assert_allclose(by_class.loss_curve_, by_sample.loss_curve_, rtol=1e-12)


def test_dropout_weight_decay_and_clipping_change_the_training_and_are_repeatable():
    plain = MLPRegressor(hidden_layer_sizes=(8,), **SHORT).fit(*REGRESSION)
    for settings in ({"dropout": 0.3}, {"weight_decay": 0.5}, {"clip_norm": 1e-3}, {"solver": "adamw"}):
        one, other = (MLPRegressor(hidden_layer_sizes=(8,), **SHORT, **settings).fit(*REGRESSION) for _ in range(2))
        assert one.loss_curve_ == other.loss_curve_
        assert one.loss_curve_ != plain.loss_curve_


def test_dropout_differs_between_partial_fits():
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(8,), dropout=0.5, learning_rate_init=1e-12, random_state=0)
    losses = {regressor.partial_fit(X, y).loss_ for _ in range(4)}
    assert len(losses) == 4


def test_an_evaluation_set_is_measured_after_every_epoch():
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(8,), alpha=5.0, **SHORT).fit(X, y, eval_set=(X, y))
    assert len(regressor.validation_loss_curve_) == 4
    assert regressor.validation_loss_curve_[-1] == pytest.approx(0.5 * np.mean((regressor.predict(X) - y) ** 2))


SCORINGS = {
    "loss": "loss",
    "a name": "neg_mean_absolute_error",
    "default": None,
    "own": lambda estimator, X, y: -len(X),
}


@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_early_stopping_watches_a_score_and_returns_to_the_best_parameters(scoring):
    X, y = REGRESSION
    settings = {"hidden_layer_sizes": (8,), "early_stopping": True, "max_iter": 30, "random_state": 0, **SGD}
    regressor = MLPRegressor(scoring=scoring, n_iter_no_change=5, **{**settings, "learning_rate_init": 0.2}).fit(X, y)
    assert regressor.best_validation_score_ == max(regressor.validation_scores_)
    if scoring == "loss":
        assert regressor.best_validation_score_ < 0.0
    if callable(scoring):
        assert set(regressor.validation_scores_) == {-15.0}  # a tenth of the samples
        assert regressor.n_iter_ == 7


def test_callbacks_see_every_epoch_and_can_end_the_training():
    seen = []

    def callback(estimator):
        seen.append((estimator.n_iter_, estimator.loss_, estimator.predict(REGRESSION[0][:1]).shape))
        return estimator.n_iter_ == 3

    regressor = MLPRegressor(hidden_layer_sizes=(8,), max_iter=9, random_state=0, callbacks=callback).fit(*REGRESSION)
    assert [each[0] for each in seen] == [1, 2, 3]
    assert [each[1] for each in seen] == regressor.loss_curve_


def test_a_warm_start_can_continue_the_optimizer():
    X, y = REGRESSION
    once = MLPRegressor(hidden_layer_sizes=(8,), max_iter=6, random_state=np.random.RandomState(0)).fit(X, y)
    settings = {"max_iter": 3, "random_state": np.random.RandomState(0)}
    twice = MLPRegressor(hidden_layer_sizes=(8,), warm_start="continue", **settings).fit(X, y).fit(X, y)
    np.testing.assert_allclose(twice.loss_curve_, once.loss_curve_, rtol=1e-12)
    assert twice.t_ == once.t_


def test_a_progress_bar_is_shown(capsys):
    MLPRegressor(hidden_layer_sizes=(8,), progress_bar=True, **SHORT).fit(*REGRESSION)
    assert "4/4" in capsys.readouterr().err


def test_partial_fits_keep_their_first_solver_as_scikit_learns_do():
    X, y = REGRESSION
    settings = {"hidden_layer_sizes": (8,), "batch_size": 20, "random_state": 0, **SGD}
    both_kinds = [cls(**settings) for cls in (neural_network.MLPRegressor, MLPRegressor)]
    for change in ({}, {"momentum": 0.1}, {"learning_rate_init": 5.0}, {"solver": "adam"}, {"alpha": 3.0}):
        for regressor in both_kinds:
            regressor.set_params(**change).partial_fit(X, y)
    theirs, ours = both_kinds
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)
    for regressor in both_kinds:
        regressor.fit(X, y)  # a fit begins with the new ones
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("members", [None, 2])
def test_an_interrupt_in_the_first_epoch_leaves_the_initial_network(members, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkChunk, "train", interrupted)
    regressor = MLPRegressor(hidden_layer_sizes=(8,), n_members=members, **SHORT)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        regressor.fit(*REGRESSION)
    assert regressor.predict(REGRESSION[0]).shape == (150,)
    assert regressor.n_iter_ == (0 if members is None else [0, 0])


def test_early_stopping_of_a_quantile_watches_its_loss():
    settings = {"hidden_layer_sizes": (8,), "early_stopping": True, "quantile": 0.9, "random_state": 0, "max_iter": 5}
    default, loss = (
        MLPRegressor("quantile", scoring=scoring, **settings).fit(*REGRESSION) for scoring in (None, "loss")
    )
    assert default.validation_scores_ == loss.validation_scores_


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, {"hidden_layer_sizes": (9,)}, r"the sizes of the layers must be as in the first fit, \[3, 8, 1\], to"),
        ({"n_members": 2}, {"n_members": 3}, "n_members must be as in the first fit, 2, to continue from it, got 3"),
        ({"n_members": 2}, {"n_members": None}, "n_members must be as in the first fit, 2"),
        ({}, {"n_members": 2}, "n_members must be as in the first fit, None"),
    ],
)
@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_a_fit_that_continues_needs_the_same_network(before, after, says, how):
    X, y = REGRESSION
    regressor = MLPRegressor(**{"hidden_layer_sizes": (8,), **SHORT, **before}, warm_start=how == "warm_start")
    predicted = regressor.fit(X, y).predict(X)
    regressor.set_params(**after)
    np.testing.assert_array_equal(regressor.predict(X), predicted)  # by the network that was fitted
    with pytest.raises(ValueError, match=says):
        (regressor.fit if how == "warm_start" else regressor.partial_fit)(X, y)
    np.testing.assert_array_equal(regressor.predict(X), predicted)


def test_targets_of_a_fit_that_continues_are_of_the_same_form():
    X, y = IRIS
    one, several = MLPClassifier((6,), **SHORT), MLPClassifier((6,), **SHORT)
    one.partial_fit(X, y, classes=[0, 1, 2])
    several.partial_fit(X, np.eye(3)[y], classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`y` must be of shape \(n_samples,\), as in the previous call"):
        one.partial_fit(X, np.eye(3)[y])
    with pytest.raises(ValueError, match=r"`y` must be of shape \(n_samples, 3\), as in the previous call"):
        several.partial_fit(X, y)
    regressor = MLPRegressor(hidden_layer_sizes=(6,), **SHORT).partial_fit(*REGRESSION)
    with pytest.raises(ValueError, match=r"the sizes of the layers .* got \[3, 6, 2\]"):
        regressor.partial_fit(REGRESSION[0], IRIS[0][:, :2])
    assert regressor.predict(REGRESSION[0]).shape == (150,)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({}, {"eval_set": (IRIS[0][:5],)}),
        ({"early_stopping": True, "validation_fraction": 0.001}, {}),
        ({"class_weight": {9: 1.0}}, {}),
        ({"hidden_layer_sizes": (0,)}, {}),
        ({"solver": "lbfgs", "alpha": np.inf}, {}),
    ],
    ids=["eval_set", "held-out samples", "class weights", "sizes", "lbfgs"],
)
def test_a_fit_that_fails_leaves_the_last_one_or_none(change, options):
    X, y = IRIS
    classifier = MLPClassifier((6,), **SHORT).fit(X, y > 0)
    kept, expected = clone(classifier), classifier.predict_proba(X)
    with warnings.catch_warnings(action="ignore"), pytest.raises((ValueError, TypeError)):
        classifier.set_params(**change).fit(X[:, :3], y + 4, **options)
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)
    assert list(classifier.classes_) == [False, True]
    classifier.set_params(**kept.get_params()).partial_fit(X, y > 0)
    with warnings.catch_warnings(action="ignore"), pytest.raises((ValueError, TypeError)):
        kept.set_params(**change).fit(X, y, **options)
    with pytest.raises(NotFittedError):
        kept.predict(X)


def test_early_stopping_can_be_switched_off_while_training_continues():
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(6,), early_stopping=True, **SHORT).fit(X, y)
    assert np.isfinite(regressor.set_params(early_stopping=False).partial_fit(X, y).best_loss_)


def test_a_scorer_of_early_stopping_sees_data_of_every_kind(array):
    X, y = REGRESSION
    weight = np.linspace(0.0, 2.0, len(y))
    settings = {"hidden_layer_sizes": (6,), "early_stopping": True, "scoring": "neg_mean_absolute_error", **SHORT}
    expected = MLPRegressor(**settings).fit(X, y, weight).validation_scores_
    assert expected != MLPRegressor(**settings).fit(X, y).validation_scores_
    for kind in (array, sparse.csr_matrix, lambda X: pd.DataFrame(X, columns=["a", "b", "c"])):
        regressor = MLPRegressor(**settings).fit(kind(X), array(y) if kind is array else y, weight)
        np.testing.assert_allclose(regressor.validation_scores_, expected, rtol=1e-4)


def test_early_stopping_with_one_class_is_scikit_learns():
    X, y = IRIS[0], np.zeros(150, dtype=int)
    theirs, ours = both((X, y), early_stopping=True, max_iter=4)
    assert ours.validation_scores_ == theirs.validation_scores_ == [1.0] * 4


def test_copies_elsewhere_and_members_train_for_themselves():
    X, y = REGRESSION
    ensemble = MLPRegressor(hidden_layer_sizes=(6,), n_members=2, **SHORT).fit(X, y)
    predicted, losses = ensemble.predict(X), [list(each) for each in ensemble.loss_curve_]
    ensemble.estimators_[0].partial_fit(X, y)
    ensemble.to("cpu").partial_fit(X, y)
    np.testing.assert_array_equal(ensemble.predict(X), predicted)
    assert ensemble.loss_curve_ == losses
    once, twice = ensemble.to("cpu").partial_fit(X, y), ensemble.to("cpu").partial_fit(X, y)
    np.testing.assert_array_equal(once.predict(X), twice.predict(X))


def test_a_new_fit_without_an_evaluation_set_has_no_losses_of_the_last_one():
    X, y = IRIS
    classifier = MLPClassifier((6,), class_weight="balanced", warm_start=True, **SHORT)
    classifier.fit(X, y, eval_set=(X[:60], y[:60]))  # without one of the classes
    plain = clone(classifier).set_params(warm_start=False).fit(X, y, eval_set=(X[:60], y[:60], np.ones(60)))
    assert plain.validation_loss_curve_ == classifier.validation_loss_curve_
    assert not hasattr(plain.fit(X, y), "validation_loss_curve_")


# ---- Many networks


MEMBERS = {
    "adam": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 25, "learning_rate_init": 0.1},
    "adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 20},
    "ends alone": {"tol": 0.02, "n_iter_no_change": 1, "max_iter": 30, "learning_rate_init": 0.05},
    "in order": {"shuffle": False},
    "dropout": {"dropout": 0.3},
    "lbfgs": {"solver": "lbfgs"},
}


@pytest.mark.parametrize("settings", MEMBERS.values(), ids=MEMBERS)
def test_each_network_of_an_ensemble_is_one_trained_alone(settings):
    X, y = IRIS
    settings = {"hidden_layer_sizes": (6,), "max_iter": 5, **settings}
    ensemble = MLPClassifier(n_members=3, random_state=5, **settings).fit(X, y)
    seeds = np.random.RandomState(5).randint(np.iinfo("int32").max, size=3)
    alone = [MLPClassifier(random_state=int(seed), **settings).fit(X, y) for seed in seeds]
    for member, expected in zip(ensemble.estimators_, alone, strict=True):
        assert member.n_iter_ == expected.n_iter_
        np.testing.assert_allclose(member.predict_proba(X), expected.predict_proba(X), rtol=1e-7)
        if settings.get("solver") != "lbfgs":
            np.testing.assert_allclose(member.loss_curve_, expected.loss_curve_, rtol=1e-9)
    mean = np.mean([each.predict_proba(X) for each in alone], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, rtol=1e-7)
    np.testing.assert_array_equal(ensemble.predict(X), mean.argmax(axis=1))


def test_an_ensemble_predicts_its_standard_deviation():
    X, y = REGRESSION
    ensemble = MLPRegressor(hidden_layer_sizes=(6,), n_members=4, **SHORT).fit(X, y)
    mean, std = ensemble.predict(X, return_std=True)
    each = [member.predict(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, np.std(each, axis=0), rtol=1e-9)
    ensemble.partial_fit(X, y)
    assert ensemble.n_iter_ == [1] * 4
    (alone,) = MLPRegressor(hidden_layer_sizes=(6,), **SHORT).fit(X, y).estimators_
    assert alone.n_members is None


# ---- Quantiles


def test_a_quantile_has_its_share_of_the_targets_below():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (2000, 1))
    y = X[:, 0] + (1.5 + X[:, 0]) * rng.standard_normal(2000)
    settings = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.01, "max_iter": 60, "random_state": 0, "tol": 0.0}
    one = MLPRegressor("quantile", quantile=0.9, **settings).fit(X, y)
    assert np.mean(y < one.predict(X)) == pytest.approx(0.9, abs=0.02)
    assert one.score(X, y) == pytest.approx(d2_pinball_score(y, one.predict(X), alpha=0.9))
    several = MLPRegressor("quantile", quantile=[0.95, 0.5, 0.05], **settings).fit(X, y)
    predictions = several.predict(X)
    assert predictions.shape == (2000, 3)
    assert np.all(np.diff(predictions, axis=1) >= 0.0)
    assert np.mean(y[:, None] < predictions, axis=0) == pytest.approx([0.05, 0.5, 0.95], abs=0.02)
    assert 0.0 < several.score(X, y) < 1.0
    two = MLPRegressor("quantile", quantile=[0.1, 0.9], **settings).fit(X, np.stack([y, -y], axis=1))
    assert two.predict(X).shape == (2000, 2, 2)


# ---- With the rest of scikit-learn


def test_it_works_in_the_tools_of_scikit_learn():
    X, y = SETS["wine"]
    classifier = MLPClassifier((8,), max_iter=15, learning_rate_init=0.02, random_state=0)
    pipeline = make_pipeline(StandardScaler(), classifier)
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.8
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=3, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.8
    assert VotingClassifier([("a", classifier), ("b", clone(classifier))], voting="soft").fit(X, y).score(X, y) > 0.9
    assert CalibratedClassifierCV(classifier, cv=3).fit(X, y).score(X, y) > 0.9
    importances = permutation_importance(classifier.fit(X, y), X, y, n_repeats=2, random_state=0).importances_mean
    assert importances.shape == (13,)
    halving = HalvingGridSearchCV(classifier, {"alpha": [1e-4, 1e-2, 1.0]}, cv=3, random_state=0).fit(X, y)
    assert halving.best_score_ > 0.5


def test_metadata_is_routed():
    X, y = IRIS
    weight = np.where(y == 2, 0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        classifier = MLPClassifier((6,), **SHORT)
        classifier.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = cross_val_score(classifier, X, y, params={"sample_weight": weight}, cv=3)
    assert routed.shape == (3,)


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_predicts_and_continues(copied, backend, array):
    X, y = array(REGRESSION[0]), array(REGRESSION[1])
    regressor = MLPRegressor(hidden_layer_sizes=(6,), early_stopping=False, **SHORT).fit(X, y)
    other = copied(regressor)
    for each in (regressor, other):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(*[backend.to_numpy(each.predict(X)) for each in (regressor, other)])
    assert other.loss_curve_ == regressor.loss_curve_


# ---- What does not work is said


def test_a_training_that_has_not_converged_warns():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(4\) reached") as stochastic:
        MLPRegressor(hidden_layer_sizes=(6,), **SHORT).fit(*REGRESSION)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 4 iteration") as of_lbfgs:
        MLPRegressor(hidden_layer_sizes=(6,), solver="lbfgs", **SHORT).fit(*REGRESSION)
    assert {warning.filename for warning in [*stochastic, *of_lbfgs]} == {__file__}


WRONG = [
    (
        {"activation": ["relu", "tanh"]},
        ValueError,
        "activation must be one, or one for each of the 1 hidden layers, got 2",
    ),
    ({"activation": ["nonsense"]}, ValueError, "activation must hold names among"),
    ({"activation": "nonsense"}, ValueError, "The 'activation' parameter of MLPRegressor must be"),
    ({"dropout": [0.1, 0.2]}, ValueError, "dropout must be from 0 to below 1, or one such for each of the 1 hidden"),
    ({"dropout": 1.0}, ValueError, "The 'dropout' parameter"),
    ({"hidden_layer_sizes": (3, -1)}, ValueError, "hidden_layer_sizes must be > 0"),
    ({"loss": "quantile", "quantile": [0.1, 1.0]}, ValueError, "quantile must be between 0 and 1"),
    ({"n_members": 0}, ValueError, "The 'n_members' parameter"),
    ({"solver": ("adam",)}, ValueError, "The 'solver' parameter"),
    ({"loss": ("huber",)}, ValueError, "The 'loss' parameter"),
    ({"callbacks": ["print"]}, TypeError, "callbacks must be functions of the estimator, got 'print'"),
    ({"solver": "lbfgs", "dropout": 0.5, "clip_norm": 1.0}, ValueError, "'lbfgs' has no dropout or clip_norm; use"),
    ({"solver": "lbfgs", "weight_decay": 0.5, "callbacks": print}, ValueError, "has no weight_decay or callbacks"),
    ({"solver": "sgd", "learning_rate_init": 1e9}, ValueError, "Solver produced non-finite parameter weights"),
]


@pytest.mark.parametrize(("settings", "error", "says"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_parameters_are_refused(settings, error, says):
    regressor = MLPRegressor(**{"hidden_layer_sizes": (6,), "max_iter": 20, **settings})
    with warnings.catch_warnings(action="ignore"), pytest.raises(error, match=says):
        regressor.fit(*REGRESSION)


@pytest.mark.not_numpy
def test_wrong_data_of_another_library_is_refused(array):
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(6,), **SHORT)
    for wrong, says in (
        ((array(X[:, 0]), array(y)), "Expected 2D array, got 1D array"),
        ((array(np.where(X > 1, np.nan, X)), array(y)), "Input X must be finite"),
        ((array(X), array(np.where(y > 1, np.inf, y))), "Input y must be finite"),
        ((array(X), array(y[:5])), "inconsistent numbers of samples"),
        ((array(X[:0]), array(y[:0])), "0 sample"),
        ((array(X), None), "requires y to be passed"),
        ((array(X), np.where(y > 1, np.nan, y).tolist()), "Input y contains NaN"),
        ((array(X), array(y[:, None, None])), r"y must be of shape \(n_samples,\) or \(n_samples, n_outputs\)"),
        ((array(X), array(y), array(np.where(y > 1, np.nan, y))), "Input sample_weight must be finite"),
        ((array(X), array(y), array(y[:3])), r"sample_weight must have the shape \(150,\)"),
    ):
        with pytest.raises(ValueError, match=says):
            regressor.fit(*wrong)
    regressor.fit(array(X), y.tolist())
    with pytest.raises(ValueError, match="X has 2 features, but MLPRegressor is expecting 3"):
        regressor.predict(array(X[:, :2]))


def test_evaluation_sets_and_standard_deviations_that_cannot_be_are_refused():
    regressor = MLPRegressor(hidden_layer_sizes=(6,), **SHORT)
    with pytest.raises(TypeError, match=r"eval_set must be \(X, y\)"):
        regressor.fit(*REGRESSION, eval_set=REGRESSION[0])
    with pytest.raises(ValueError, match="y of eval_set must have 1 outputs, as that of fit, got 2"):
        regressor.fit(*REGRESSION, eval_set=(REGRESSION[0], IRIS[0][:, :2]))
    with pytest.raises(ValueError, match="solver='lbfgs' has no eval_set"):
        clone(regressor).set_params(solver="lbfgs").fit(*REGRESSION, eval_set=REGRESSION)
    with pytest.raises(ValueError, match="return_std must be False without n_members"):
        regressor.fit(*REGRESSION).predict(REGRESSION[0], return_std=True)


def test_an_optimization_of_huge_numbers_is_refused():
    X, y = REGRESSION
    regressor = MLPRegressor(hidden_layer_sizes=(6,), solver="lbfgs", **SHORT)
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match="non-finite parameter weights"):
        regressor.fit(X, y * 1e300)


@pytest.mark.parametrize("kind", ["numpy", "other"])
def test_targets_that_a_loss_does_not_have_are_refused(kind, array):
    X, y = (np.asarray, array)[kind == "other"](REGRESSION[0]), (np.asarray, array)[kind == "other"](-REGRESSION[1])
    with pytest.raises(ValueError, match="y must be from 0 to inf for loss='poisson', got -"):
        MLPRegressor("poisson", hidden_layer_sizes=(6,), **SHORT).fit(X, y)
