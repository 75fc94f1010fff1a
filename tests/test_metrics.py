"""Metrics are scikit-learn's, on every backend, for one network or many, with weights or without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from xpnet import NeuralNetwork
from xpnet.metrics import METRICS, accuracy, mean_absolute_error, r2_score

N = 9


@pytest.fixture
def weight(rng):
    weight = rng.random(N)
    return weight / weight.mean()


def ask_sklearn(name, A, Y, weight):
    """A and Y have the shape (n, m)."""
    if name == "accuracy":
        one_class = len(Y) > 1 and (Y.sum(axis=0) == 1).all()
        A, Y = (A.argmax(axis=0), Y.argmax(axis=0)) if one_class else (A.T > 0.5, Y.T > 0.5)
        return sklearn_metrics.accuracy_score(Y, A, sample_weight=weight)
    return getattr(sklearn_metrics, name)(Y.T, A.T, sample_weight=weight)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("targets", ["one output", "labels", "several labels"])
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_scikit_learns(name, targets, weighted, xp, array, assert_close, rng, weight):
    n = 1 if targets == "one output" else 3
    A, Y = rng.random((4, n, N)), np.round(rng.random((4, n, N)))
    if targets == "labels":
        Y = np.moveaxis(np.eye(3)[rng.integers(0, 3, (4, N))], -1, -2)
    given = array(weight[None, :]) if weighted else None
    asked = [ask_sklearn(name, a, y, weight if weighted else None) for a, y in zip(A, Y, strict=True)]
    for e in range(4):
        assert_close(METRICS[name](xp, array(A[e]), array(Y[e]), given), asked[e], rtol=1e-5)
    assert_close(METRICS[name](xp, array(A), array(Y), given), asked, rtol=1e-5)


def test_weights_may_be_each_networks_own(xp, array, assert_close, rng):
    A, Y, weights = rng.random((2, 1, N)), rng.random((1, N)), rng.random((2, 1, N))
    weights /= weights.mean(axis=-1, keepdims=True)
    asked = [ask_sklearn("r2_score", A[e], Y, weights[e, 0]) for e in range(2)]
    assert_close(r2_score(xp, array(A), array(np.broadcast_to(Y, A.shape)), array(weights)), asked, rtol=1e-5)


def test_the_score_of_targets_that_do_not_vary(xp, array, assert_close):
    """The first output is right, the second not; scikit-learn says 1 and 0."""
    Y, A = np.array([[2.0, 2.0], [3.0, 3.0]]), np.array([[2.0, 2.0], [3.0, 4.0]])
    assert sklearn_metrics.r2_score(Y.T, A.T) == 0.5
    assert_close(r2_score(xp, array(A), array(Y)), 0.5)


def test_one_half_is_no_yes(xp, array, assert_close):
    assert_close(accuracy(xp, array([[0.5, 0.6]]), array([[0.0, 1.0]])), 1.0)


def test_a_network_measures_itself(backend, dtype, array, rng):
    X, y = rng.standard_normal((N, 2)), rng.random((N, 3))
    network = NeuralNetwork([2, 4, 3], device=backend, dtype=dtype, seed=0)

    def worst(xp, A, Y, weight):
        return xp.max(xp.abs(A - Y), axis=(-2, -1))

    figures = network.evaluate(array(X), array(y), metrics=["r2_score", "mean_absolute_error", worst])
    answers = np.asarray(network.predict(X))
    assert list(figures) == ["loss", "r2_score", "mean_absolute_error", "worst"]
    assert figures["loss"] == pytest.approx(0.5 * np.mean(np.sum((answers - y) ** 2, axis=1)), rel=1e-5)
    assert figures["r2_score"] == pytest.approx(sklearn_metrics.r2_score(y, answers), rel=1e-4)
    assert figures["mean_absolute_error"] == pytest.approx(np.abs(answers - y).mean(), rel=1e-5)
    assert figures["worst"] == pytest.approx(np.abs(answers - y).max(), rel=1e-5)
    assert all(type(value) is float for value in figures.values())


def test_the_figures_of_an_ensemble_are_one_each(rng):
    X, y = rng.standard_normal((N, 2)), rng.integers(0, 2, N)
    ensemble = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", ensemble=3, seed=0)
    figures = ensemble.evaluate(X, y, metrics="accuracy")
    for i in range(3):
        assert ensemble.member(i).evaluate(X, y, metrics="accuracy") == {
            name: pytest.approx(values[i]) for name, values in figures.items()
        }


REFUSED = [
    ("precision", ValueError, "unknown metric 'precision'; known are 'accuracy', 'r2_score'"),
    (["accuracy", "accuracy"], ValueError, "there is something recorded as 'accuracy' already"),
    (5, TypeError, "metrics must be a list of names and functions, got 5"),
    ([5], TypeError, "metric must be one of 'accuracy'"),
    (
        lambda A, Y: 1.0,
        TypeError,
        "the metric <lambda> must be a function metric(xp, A, Y, weight): ",
    ),
    (lambda xp, A, Y, weight: 1.0, TypeError, "what <lambda> returns must be an array, got 1.0"),
    (lambda xp, A, Y, weight: A, ValueError, "what <lambda> returns must have the shape ()"),
]


@pytest.mark.parametrize(("metrics", "error", "says"), REFUSED, ids=range(len(REFUSED)))
def test_a_metric_that_is_none_is_refused_before_training(metrics, error, says, backend, dtype, array, rng):
    X, y = array(rng.standard_normal((N, 2))), array(rng.random(N))
    network = NeuralNetwork([2, 4, 1], device=backend, dtype=dtype, seed=0)
    with pytest.raises(error, match=f"^{says}".replace("(", r"\(").replace(")", r"\)")):
        network.train(X, y, 0.1, epochs=1, verbose=False, metrics=metrics)
    assert network.epochs_trained == 0


def test_a_metric_may_not_be_called_like_what_is_recorded_anyway(rng):
    def validation_loss(xp, A, Y, weight):
        return xp.mean(A, axis=(-1, -2))

    with pytest.raises(ValueError, match="there is something recorded as 'validation_loss' already"):
        NeuralNetwork([1, 1], seed=0).evaluate([1.0], [0.5], metrics=validation_loss)


def test_mean_absolute_error_is_of_all_outputs(xp, array, assert_close):
    assert_close(mean_absolute_error(xp, array([[1.0], [2.0]]), array([[0.0], [0.0]])), 1.5)


@pytest.mark.away
def test_a_metric_that_returns_a_number_of_the_host_is_refused_before_training(backend, dtype, array, rng):
    network = NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0)
    X, y = array(rng.standard_normal((6, 2))), array(rng.random(6))
    says = r"what <lambda> returns must be an array of .*, got a float64 of numpy: use functions of xp alone"
    with pytest.raises(TypeError, match=says):
        network.train(X, y, 0.1, epochs=2, verbose=False, metrics=[lambda xp, A, Y, weight: np.float64(1.0)])
    assert network.epochs_trained == 0
    with pytest.raises(TypeError, match=says):
        network.evaluate(X, y, metrics=[lambda xp, A, Y, weight: np.float64(1.0)])


def test_a_metric_must_be_real(rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    X, y = rng.standard_normal((6, 2)), rng.random(6)
    with pytest.raises(TypeError, match="what <lambda> returns must hold real numbers"):
        network.evaluate(X, y, metrics=[lambda xp, A, Y, weight: A[..., 0, 0] * 1j])
