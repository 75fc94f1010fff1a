"""Metrics equal scikit-learn's, on every backend, for one network or an ensemble, with or without weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from xpnet import NeuralNetwork
from xpnet.metrics import Metric, binary_accuracy, categorical_accuracy, mean_absolute_error, r2_score, subset_accuracy

N = 9


@pytest.fixture
def weight(rng):
    weight = rng.random(N)
    return weight / weight.mean()


METRICS = [binary_accuracy(), categorical_accuracy, mean_absolute_error, r2_score, subset_accuracy()]


def sklearn_metric(name, A, Y, weight):
    """Return the metric of scikit-learn; A and Y have the shape (n, m)."""
    if name == "binary_accuracy":  # as in Keras, every output counts separately
        right = (A > 0.5) == (Y > 0.5)
        return np.average(right.mean(axis=0), weights=weight)
    if name == "categorical_accuracy":
        return sklearn_metrics.accuracy_score(Y.argmax(axis=0), A.argmax(axis=0), sample_weight=weight)
    if name == "subset_accuracy":
        return sklearn_metrics.accuracy_score(Y.T > 0.5, A.T > 0.5, sample_weight=weight)
    return getattr(sklearn_metrics, name)(Y.T, A.T, sample_weight=weight)


def measured(metric, xp, A, Y, weight=None, chunks=(slice(None),)):
    state = None
    for which in chunks:
        state = metric.accumulate(
            xp, state, A[..., which], Y[..., which], weight if weight is None else weight[..., which]
        )
    return metric.finish(xp, state)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("targets", ["one output", "labels", "several labels"])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_equals_scikit_learns_for_any_chunks_of_samples(
    metric, targets, weighted, xp, array, assert_close, rng, weight
):
    n = 1 if targets == "one output" else 3
    A, Y = rng.random((4, n, N)), np.round(rng.random((4, n, N)))
    if targets == "labels":
        Y = np.moveaxis(np.eye(3)[rng.integers(0, 3, (4, N))], -1, -2)
    given = array(weight[None, :]) if weighted else None
    expected = [sklearn_metric(metric.name, a, y, weight if weighted else None) for a, y in zip(A, Y, strict=True)]
    for e in range(4):
        assert_close(measured(metric, xp, array(A[e]), array(Y[e]), given), expected[e], rtol=1e-5)
    for chunks in ([slice(None)], [slice(2), slice(2, 3), slice(3, None)], [slice(i, i + 1) for i in range(N)]):
        assert_close(measured(metric, xp, array(A), array(Y), given, chunks), expected, rtol=1e-5)


def test_every_network_may_have_its_own_sample_weights(xp, array, assert_close, rng):
    A, Y, weights = rng.random((2, 1, N)), rng.random((1, N)), rng.random((2, 1, N))
    weights /= weights.mean(axis=-1, keepdims=True)
    expected = [sklearn_metric("r2_score", A[e], Y, weights[e, 0]) for e in range(2)]
    assert_close(measured(r2_score, xp, array(A), array(Y), array(weights)), expected, rtol=1e-5)


def test_r2_score_of_constant_targets_equals_scikit_learns(xp, array, assert_close):
    """The first output is correct, the second is not; scikit-learn returns 1 and 0."""
    Y, A = np.array([[2.0, 2.0], [3.0, 3.0]]), np.array([[2.0, 2.0], [3.0, 4.0]])
    assert sklearn_metrics.r2_score(Y.T, A.T) == 0.5
    assert_close(measured(r2_score, xp, array(A), array(Y)), 0.5)


def test_r2_score_ignores_samples_of_weight_zero(rng):
    given = [[0.0], [1.0], [2.0]], [0.0, 0.0, 1.0]
    expected = sklearn_metrics.r2_score(
        given[1], NeuralNetwork([1, 1], seed=0).predict(given[0])[:, 0], sample_weight=[1, 1, 0]
    )
    found = NeuralNetwork([1, 1], seed=0).evaluate(*given, sample_weight=[1, 1, 0], metrics="r2_score")
    assert found["r2_score"] == expected == 0.0


def test_r2_score_is_exact_for_targets_far_from_zero(xp, array, assert_close, rng):
    Y = 1e3 + rng.random((1, 98))
    A = Y + 0.1 * rng.standard_normal((1, 98))
    A, Y = (np.asarray(each, dtype=str(array(0.0).dtype).rpartition(".")[2]) for each in (A, Y))
    expected = sklearn_metric("r2_score", A.astype(float), Y.astype(float), None)
    chunks = [slice(i, i + 7) for i in range(0, 98, 7)]
    assert_close(measured(r2_score, xp, array(A), array(Y), chunks=chunks), expected, rtol=1e-3)


def test_an_output_of_one_half_counts_as_class_0(xp, array, assert_close):
    assert_close(measured(binary_accuracy(), xp, array([[0.5, 0.6]]), array([[0.0, 1.0]])), 1.0)


# The meaning of accuracy: the layers, the settings, the targets, and the metric that it equals.
MEANINGS = [
    ([2, 3], {"loss": "categorical_crossentropy"}, "labels", "categorical_accuracy"),
    ([2, 3], {"activations": ["softmax"]}, "labels", "categorical_accuracy"),
    ([2, 3], {}, "one of three", "categorical_accuracy"),
    ([2, 3], {"activations": ["tanh"]}, "one of three, others -1", "categorical_accuracy"),
    ([2, 1], {"loss": "binary_crossentropy"}, "yes or no", "binary_accuracy"),
    ([2, 3], {"loss": "binary_crossentropy"}, "any of three", "subset_accuracy"),
    ([2, 1], {}, "yes or no", "binary_accuracy"),
    ([2, 1], {"activations": ["tanh"]}, "1 or -1", "binary_accuracy"),
]


def targets_of(kind, rng):
    labels = rng.integers(0, 3, 60)
    return {
        "labels": labels,
        "one of three": np.eye(3)[labels],
        "one of three, others -1": 2 * np.eye(3)[labels] - 1,
        "yes or no": (labels > 0).astype(int),
        "any of three": rng.integers(0, 2, (60, 3)),
        "1 or -1": np.where(labels > 0, 1.0, -1.0),
        "numbers": rng.random(60),
        "three numbers": rng.random((60, 3)),
        "two numbers": rng.random((60, 2)),
    }[kind]


@pytest.mark.parametrize(("layers", "settings", "targets", "means"), MEANINGS)
def test_accuracy_has_the_same_meaning_for_every_subset(layers, settings, targets, means, backend, dtype, rng):
    X, y = rng.standard_normal((60, 2)), targets_of(targets, rng)
    network = NeuralNetwork(layers, device=backend, dtype=dtype, seed=0, **settings)
    for some in (slice(None), slice(1), slice(7, 20)):
        found = network.evaluate(X[some], y[some], metrics=["accuracy", means])
        assert found["accuracy"] == found[means]
        outputs = np.asarray(network.predict(X[some]))
        if layers[-1] == 1:
            right = np.sign(outputs[:, 0]) == y[some] if -1 in y else (outputs[:, 0] > 0.5) == y[some]
        elif means == "subset_accuracy":
            right = ((outputs > 0.5) == y[some]).all(axis=1)
        else:
            right = outputs.argmax(axis=1) == (y[some] if y.ndim == 1 else y[some].argmax(axis=1))
        assert found["accuracy"] == pytest.approx(np.mean(right), rel=1e-5)


MEANINGLESS = [
    ([2, 1], {"activations": ["identity"]}, "numbers", "needs a classifier, got a regression loss"),
    ([2, 3], {"activations": ["relu"]}, "three numbers", "needs a classifier, .* outputs from 0 to inf"),
    ([2, 1], {"loss": "poisson", "activations": ["softplus"]}, "yes or no", "needs a classifier"),
    ([2, 1], {}, "numbers", "needs targets that are classes, 0 or 1"),
    ([2, 1], {"activations": ["tanh"]}, "yes or no", "that are classes, -1 or 1"),
    ([2, 3], {}, "three numbers", "one-hot rows of 1 and 0"),
    ([2, 3], {}, "any of three", "one-hot rows of 1 and 0"),
    ([2, 2], {}, "two numbers", "one-hot rows of 1 and 0"),
]


@pytest.mark.parametrize(("layers", "settings", "targets", "says"), MEANINGLESS)
def test_accuracy_is_refused_if_outputs_or_targets_are_not_classes(
    layers, settings, targets, says, backend, dtype, rng
):
    X, y = rng.standard_normal((60, 2)), targets_of(targets, rng)
    network = NeuralNetwork(layers, device=backend, dtype=dtype, seed=0, **settings)
    with pytest.raises(ValueError, match=f"^metrics: .*{says}"):
        network.evaluate(X, y, metrics="accuracy")
    with pytest.raises(ValueError, match=f"^metrics: .*{says}"):
        network.train(X, y, 0.1, epochs=1, verbose=False, metrics="accuracy")
    assert network.epochs_trained == 0


def test_a_custom_metric_is_accumulated_over_chunks_of_samples(backend, dtype, rng, monkeypatch):
    seen = []

    def accumulate(xp, state, A, Y, weight):
        seen.append(A.shape[-1])
        worst = xp.max(xp.abs(A - Y), axis=(-2, -1))
        return worst if state is None else xp.maximum(state, worst)

    worst = Metric("worst", accumulate, lambda xp, state: state)
    network = NeuralNetwork([2, 50, 1], device=backend, dtype=dtype, seed=0)
    monkeypatch.setattr(type(backend), "step_memory", property(lambda self: 3 * 53 * 10 * network._settings.itemsize))
    X, y = rng.standard_normal((95, 2)), rng.random(95)
    found = network.evaluate(X, y, metrics=[worst, lambda xp, A, Y, weight: xp.max(xp.abs(A - Y), axis=(-2, -1))])
    assert seen == [10] * 9 + [5]
    assert found["worst"] == found["<lambda>"] == pytest.approx(np.abs(np.asarray(network.predict(X))[:, 0] - y).max())


def test_evaluate_returns_the_loss_and_the_metrics(backend, dtype, array, rng):
    X, y = rng.standard_normal((N, 2)), rng.random((N, 3))
    network = NeuralNetwork([2, 4, 3], device=backend, dtype=dtype, seed=0)

    def worst(xp, A, Y, weight):
        return xp.max(xp.abs(A - Y), axis=(-2, -1))

    values = network.evaluate(array(X), array(y), metrics=["r2_score", "mean_absolute_error", worst])
    predictions = np.asarray(network.predict(X))
    assert list(values) == ["loss", "r2_score", "mean_absolute_error", "worst"]
    assert values["loss"] == pytest.approx(0.5 * np.mean(np.sum((predictions - y) ** 2, axis=1)), rel=1e-5)
    assert values["r2_score"] == pytest.approx(sklearn_metrics.r2_score(y, predictions), rel=1e-4)
    assert values["mean_absolute_error"] == pytest.approx(np.abs(predictions - y).mean(), rel=1e-5)
    assert values["worst"] == pytest.approx(np.abs(predictions - y).max(), rel=1e-5)
    assert all(type(value) is float for value in values.values())


def test_metrics_of_an_ensemble_have_one_value_for_each_network(rng):
    X, y = rng.standard_normal((N, 2)), rng.integers(0, 2, N)
    ensemble = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", ensemble=3, seed=0)
    values = ensemble.evaluate(X, y, metrics="accuracy")
    for i in range(3):
        assert ensemble.member(i).evaluate(X, y, metrics="accuracy") == {
            name: pytest.approx(value[i]) for name, value in values.items()
        }


REFUSED = [
    ("precision", ValueError, "metrics must be one of 'accuracy', 'binary_accuracy', .* got 'precision'"),
    (["r2_score", "r2_score"], ValueError, "metrics must have names that are not yet recorded, got 'r2_score'"),
    (5, TypeError, "metrics must be a list of names and functions, got 5"),
    ([5], TypeError, "metrics must be one of 'accuracy'"),
    (
        lambda A, Y: 1.0,
        TypeError,
        "metrics: a metric must be a function (xp, A, Y, weight), got <function",
    ),
    (lambda xp, A, Y, weight: 1.0, TypeError, "metrics: what <lambda> returns must be an array, got 1.0"),
    (lambda xp, A, Y, weight: A, ValueError, "metrics: what <lambda> returns must have the shape ()"),
]


@pytest.mark.parametrize(("metrics", "error", "says"), REFUSED, ids=range(len(REFUSED)))
def test_an_invalid_metric_is_refused_before_training(metrics, error, says, backend, dtype, array, rng):
    X, y = array(rng.standard_normal((N, 2))), array(rng.random(N))
    network = NeuralNetwork([2, 4, 1], device=backend, dtype=dtype, seed=0)
    with pytest.raises(error, match=f"^{says}".replace("(", r"\(").replace(")", r"\)")):
        network.train(X, y, 0.1, epochs=1, verbose=False, metrics=metrics)
    assert network.epochs_trained == 0


def test_a_metric_may_not_have_the_name_of_a_recorded_loss(rng):
    def validation_loss(xp, A, Y, weight):
        return xp.mean(A, axis=(-1, -2))

    with pytest.raises(ValueError, match="metrics must have names that are not yet recorded, got 'validation_loss'"):
        NeuralNetwork([1, 1], seed=0).evaluate([1.0], [0.5], metrics=validation_loss)


def test_mean_absolute_error_averages_over_all_outputs(xp, array, assert_close):
    assert_close(measured(mean_absolute_error, xp, array([[1.0], [2.0]]), array([[0.0], [0.0]])), 1.5)


@pytest.mark.not_numpy
def test_a_metric_that_returns_a_host_number_is_refused_before_training(backend, dtype, array, rng):
    network = NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0)
    X, y = array(rng.standard_normal((6, 2))), array(rng.random(6))
    says = r"what <lambda> returns must be an array of .*, got a float64 of numpy; use only functions of xp"
    with pytest.raises(TypeError, match=says):
        network.train(X, y, 0.1, epochs=2, verbose=False, metrics=[lambda xp, A, Y, weight: np.float64(1.0)])
    assert network.epochs_trained == 0
    with pytest.raises(TypeError, match=says):
        network.evaluate(X, y, metrics=[lambda xp, A, Y, weight: np.float64(1.0)])


def test_a_metric_must_return_real_numbers(rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    X, y = rng.standard_normal((6, 2)), rng.random(6)
    with pytest.raises(TypeError, match="what <lambda> returns must hold real numbers"):
        network.evaluate(X, y, metrics=[lambda xp, A, Y, weight: A[..., 0, 0] * 1j])
