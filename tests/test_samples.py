"""Samples count as much as they should: weights of samples and of classes, and what is kept for validation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from xpnet import NeuralNetwork

N = 8


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 2))


@pytest.fixture
def y(rng):
    return rng.random(N)


def trained(backend, dtype, array, X, y, n_L=1, **training):
    loss = "categorical_crossentropy" if n_L > 1 else "half_squared_error"
    network = NeuralNetwork([2, 4, n_L], loss=loss, device=backend, dtype=dtype, seed=0)
    for name in {"sample_weight"} & training.keys():
        training[name] = array(training[name])
    network.train(array(X), array(y), 0.5, epochs=3, verbose=False, **training)
    return backend.to_numpy(network.theta), network.epoch_loss


@pytest.fixture
def alike(dtype):
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]

    def check(one, other):
        np.testing.assert_allclose(one[0], other[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(one[1], other[1], rtol=tolerance, atol=tolerance)

    return check


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_a_weight_counts_how_often_a_sample_is_there(scale, backend, dtype, array, X, y, alike):
    """Weights as a whole change nothing: what counts is how they are to each other."""
    often = np.array([2, 0, 1, 3, 1, 1, 0, 1])
    weighted = trained(backend, dtype, array, X, y, batch_size=None, sample_weight=often * scale)
    repeated = trained(backend, dtype, array, np.repeat(X, often, axis=0), np.repeat(y, often), batch_size=None)
    alike(weighted, repeated)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_weights_of_one_are_none(batch_size, backend, dtype, array, X, y, alike):
    options = {"batch_size": batch_size, "shuffle": True}
    weighted = trained(backend, dtype, array, X, y, sample_weight=np.ones(N), **options)
    alike(weighted, trained(backend, dtype, array, X, y, **options))


def test_a_sample_without_weight_teaches_nothing(backend, dtype, array, X, y, alike):
    """Sample by sample a step of its own is then none."""
    weight = np.ones(N)
    weight[3] = 0.0
    weighted = trained(backend, dtype, array, X, y, sample_weight=weight)
    other = y.copy()
    other[3] = 1.0 - y[3]
    alike(weighted, trained(backend, dtype, array, X, other, sample_weight=weight))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 1: 0.5}], ids=str)
def test_class_weights_are_scikit_learns(class_weight, classes, backend, dtype, array, X, alike):
    labels = np.array([0, 1, 1, 0, 1, 1, 1, classes - 1])
    n_L = 1 if classes == 2 else classes
    own = np.linspace(1.0, 2.0, N)
    asked = {"sample_weight": own, "class_weight": class_weight, "batch_size": 3}
    if class_weight == "balanced":  # with weights, as in scikit-learn from 1.7 on
        full = {c: own.sum() / (classes * own[labels == c].sum()) for c in range(classes)}
    else:
        full = {c: class_weight.get(c, 1.0) for c in range(classes)}
    weight = compute_sample_weight(full, labels) * own
    expected = trained(backend, dtype, array, X, labels, n_L, sample_weight=weight, batch_size=3)
    alike(trained(backend, dtype, array, X, labels, n_L, **asked), expected)
    if n_L > 1:
        one_hot = np.eye(classes)[labels]
        alike(trained(backend, dtype, array, X, one_hot, n_L, **asked), expected)


def test_figures_are_of_the_samples_as_they_are(backend, dtype, array, X):
    """Weights of classes are for learning: on the same samples training and validation measure the same."""
    labels = np.array([0, 1, 1, 1, 1, 1, 1, 1])
    network = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", device=backend, dtype=dtype, seed=0)
    network.train(
        array(X), array(labels), 0.5, epochs=2, verbose=False, class_weight="balanced",
        metrics=["accuracy", "r2_score"], validation_data=(array(X), array(labels)),
    )  # fmt: skip
    for name in ("accuracy", "r2_score"):
        np.testing.assert_array_equal(network.history[name], network.history[f"validation_{name}"])


def test_a_class_that_is_not_there_does_not_count(backend, dtype, array, X, alike):
    labels = np.array([0, 2, 2, 0, 2, 2, 2, 2])
    each = dict(zip((0, 2), compute_class_weight("balanced", classes=np.array([0, 2]), y=labels), strict=True))
    balanced = trained(backend, dtype, array, X, labels, 3, class_weight="balanced")
    alike(balanced, trained(backend, dtype, array, X, labels, 3, class_weight=each))


def test_a_split_is_the_same_for_every_seed_and_what_it_keeps_is_measured_but_not_learned_from(X, y):
    kept = {0: [], 1: []}
    for seed in kept:
        for i in range(N):
            networks = []
            for target in (0.0, 1.0):
                changed = y.copy()
                changed[i] = target
                networks.append(NeuralNetwork([2, 4, 1], seed=seed))
                networks[-1].train(X, changed, 0.5, epochs=1, verbose=False, validation_split=0.25)
            one, other = networks
            if np.array_equal(one.theta, other.theta):
                assert one.history["validation_loss"] != other.history["validation_loss"]
                kept[seed].append(i)
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2


def test_class_weights_may_be_of_labels_of_any_kind_of_number(X, rng):
    labels = rng.integers(0, 2, N)
    thetas = []
    for weights in ({0: 1.0, 1: 5.0}, dict(zip(np.unique(labels.astype(float)), (1.0, 5.0), strict=True))):
        network = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", seed=0)
        network.train(X, labels, 0.1, epochs=2, verbose=False, class_weight=weights)
        thetas.append(network.theta)
    np.testing.assert_array_equal(*thetas)


REFUSED = [
    ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight must have the shape \(8,\), got \(3,\)"),
    ({"sample_weight": np.ones((N, 1))}, ValueError, r"sample_weight must have the shape \(8,\), got \(8, 1\)"),
    ({"sample_weight": -np.ones(N)}, ValueError, "sample_weight must not be negative"),
    ({"sample_weight": np.full(N, np.nan)}, ValueError, "sample_weight must be finite"),
    ({"sample_weight": np.zeros(N)}, ValueError, "the weights of the samples.* are all zero"),
    ({"sample_weight": ["a"] * N}, TypeError, "sample_weight must hold real numbers"),
    ({"class_weight": "even"}, TypeError, "class_weight must be 'balanced' or a mapping of labels"),
    ({"class_weight": {2: 1.0}}, ValueError, "class_weight names the class 2, but the labels are 0 to 1"),
    ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\] must be a positive"),
    ({"class_weight": "balanced"}, ValueError, "class_weight needs targets that name one class each"),
    ({"validation_split": 1.0}, ValueError, "validation_split must be below 1, got 1.0"),
    ({"validation_split": -0.1}, ValueError, "validation_split must be a positive"),
    ({"validation_split": 0.97}, ValueError, "validation_split of 0.97 leaves nothing to learn from 8 samples"),
    ({"validation_split": "half"}, TypeError, "validation_split must be a positive number, got 'half'"),
    ({"validation_data": 5}, TypeError, r"validation_data must be a tuple \(X, y\) or \(X, y, sample_weight\)"),
    ({"validation_data": ([[1.0, 2.0]],)}, TypeError, "validation_data must be a tuple"),
    ({"validation_data": ([[1.0, 2.0]], [0.5, 0.5])}, ValueError,
     "X of validation_data has 1 samples, but y of validation_data has 2"),
    ({"validation_data": ([[1.0, 2.0]], [5.0])}, ValueError, "y of validation_data reaches from 5.0 to 5.0"),
    ({"validation_data": ([[1.0]], [0.5])}, ValueError, "X of validation_data has the shape"),
    ({"validation_data": ([[1.0, 2.0]], [0.5]), "validation_split": 0.1}, ValueError,
     "give validation_split or validation_data, not both"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "says"), REFUSED)
def test_it_refuses(given, error, says, backend, dtype, array, X, y):
    network = NeuralNetwork([2, 4, 1], device=backend, dtype=dtype, seed=0)
    before = np.array(backend.to_numpy(network.theta))
    if isinstance(given.get("sample_weight"), np.ndarray):
        given = {"sample_weight": array(given["sample_weight"])}
    with pytest.raises(error, match=says):
        network.train(array(X), array(y), 0.1, epochs=1, verbose=False, **given)
    np.testing.assert_array_equal(backend.to_numpy(network.theta), before)
    assert network.epochs_trained == 0


def test_weights_of_another_place_are_refused(X, y):
    from xpnet import get_backend

    strict = get_backend("device1", name="array_api_strict")
    with pytest.raises(ValueError, match="X is an array of numpy on cpu, but sample_weight one of array_api_strict"):
        NeuralNetwork([2, 4, 1]).train(X, y, 0.1, sample_weight=strict.asarray(np.ones(N)))
