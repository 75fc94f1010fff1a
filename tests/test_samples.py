"""Samples: their weights, class weights, the validation split, data types, memory layouts and error messages."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from xpnet import NeuralNetwork, get_backend
from xpnet.data.incoming import bring_samples
from xpnet.data.samples import BLOCK
from xpnet.schedules import cosine

N = 8
BLOCKS = [f"xpnet.{module}.BLOCK" for module in ("data.samples", "data.incoming", "core.epochs")]


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
def test_a_weight_equals_a_number_of_repetitions(scale, backend, dtype, array, X, y, alike):
    """The scale of the weights changes nothing: only their ratios matter."""
    often = np.array([2, 0, 1, 3, 1, 1, 0, 1])
    weighted = trained(backend, dtype, array, X, y, batch_size=None, sample_weight=often * scale)
    repeated = trained(backend, dtype, array, np.repeat(X, often, axis=0), np.repeat(y, often), batch_size=None)
    alike(weighted, repeated)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_weights_of_one_equal_no_weights(batch_size, backend, dtype, array, X, y, alike):
    options = {"batch_size": batch_size, "shuffle": True}
    weighted = trained(backend, dtype, array, X, y, sample_weight=np.ones(N), **options)
    alike(weighted, trained(backend, dtype, array, X, y, **options))


def test_a_sample_of_weight_zero_has_no_effect(backend, dtype, array, X, y, alike):
    """Sample by sample, its step changes nothing."""
    weight = np.ones(N)
    weight[3] = 0.0
    weighted = trained(backend, dtype, array, X, y, sample_weight=weight)
    other = y.copy()
    other[3] = 1.0 - y[3]
    alike(weighted, trained(backend, dtype, array, X, other, sample_weight=weight))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 1: 0.5}], ids=str)
def test_class_weights_equal_scikit_learns(class_weight, classes, backend, dtype, array, X, alike):
    labels = np.array([0, 1, 1, 0, 1, 1, 1, classes - 1])
    n_L = 1 if classes == 2 else classes
    own = np.linspace(1.0, 2.0, N)
    options = {"sample_weight": own, "class_weight": class_weight, "batch_size": 3}
    if class_weight == "balanced":  # with weights, as in scikit-learn from 1.7 on
        full = {c: own.sum() / (classes * own[labels == c].sum()) for c in range(classes)}
    else:
        full = {c: class_weight.get(c, 1.0) for c in range(classes)}
    weight = compute_sample_weight(full, labels) * own
    expected = trained(backend, dtype, array, X, labels, n_L, sample_weight=weight, batch_size=3)
    alike(trained(backend, dtype, array, X, labels, n_L, **options), expected)
    if n_L > 1:
        one_hot = np.eye(classes)[labels]
        alike(trained(backend, dtype, array, X, one_hot, n_L, **options), expected)


def test_metrics_ignore_class_weights(backend, dtype, array, X):
    """Class weights are for learning only: on the same samples, training and validation metrics are equal."""
    labels = np.array([0, 1, 1, 1, 1, 1, 1, 1])
    network = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", device=backend, dtype=dtype, seed=0)
    network.train(
        array(X), array(labels), 0.5, epochs=2, verbose=False, class_weight="balanced",
        metrics=["accuracy", "r2_score"], validation_data=(array(X), array(labels)),
    )  # fmt: skip
    for name in ("accuracy", "r2_score"):
        np.testing.assert_array_equal(network.history[name], network.history[f"validation_{name}"])


def test_a_class_without_samples_does_not_change_balanced_weights(backend, dtype, array, X, alike):
    labels = np.array([0, 2, 2, 0, 2, 2, 2, 2])
    each = dict(zip((0, 2), compute_class_weight("balanced", classes=np.array([0, 2]), y=labels), strict=True))
    balanced = trained(backend, dtype, array, X, labels, 3, class_weight="balanced")
    alike(balanced, trained(backend, dtype, array, X, labels, 3, class_weight=each))


def test_every_seed_holds_out_the_same_samples_and_does_not_learn_from_them(X, y):
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


def test_class_weights_accept_labels_of_any_numeric_type(X, rng):
    labels = rng.integers(0, 2, N)
    thetas = []
    for weights in ({0: 1.0, 1: 5.0}, dict(zip(np.unique(labels.astype(float)), (1.0, 5.0), strict=True))):
        network = NeuralNetwork([2, 4, 1], loss="binary_crossentropy", seed=0)
        network.train(X, labels, 0.1, epochs=2, verbose=False, class_weight=weights)
        thetas.append(network.theta)
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("kind", ["labels", "one-hot", "yes or no"])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_a_split_holds_out_the_same_fraction_of_every_class(kind, fraction, rng):
    labels = rng.permutation(
        np.repeat([0, 1, 2], [100, 40, 20]) if kind != "yes or no" else np.repeat([0, 1], [130, 30])
    )
    network = NeuralNetwork([1, 3] if kind != "yes or no" else [1, 1], seed=0)
    y = np.eye(3)[labels] if kind == "one-hot" else labels
    samples = bring_samples(
        network._transfer(X=labels), {"X": labels, "y": y, "sample_weight": None}, network._settings
    )
    learned, held_out = samples.split(fraction)
    counts, kept = np.bincount(labels), np.bincount(labels[held_out.chosen])
    assert held_out.size == round(160 * fraction)
    assert np.abs(kept - counts * fraction).max() <= 1
    assert sorted([*learned.chosen, *held_out.chosen]) == list(range(160))


def test_classes_may_be_minus_one_and_one(X):
    y = np.array([-1, -1, -1, -1, -1, -1, 1, 1])
    network = NeuralNetwork([2, 1], activations=["tanh"], seed=0)
    given = {"X": X, "y": y, "sample_weight": None}
    samples = bring_samples(network._transfer(**given), given, network._settings)
    learned, held_out = samples.split(0.5)
    assert sorted(y[learned.chosen]) == sorted(y[held_out.chosen]) == [-1, -1, -1, 1]
    weight = samples.weighted_by_class("balanced").weight[:, 0]
    np.testing.assert_allclose(weight, np.where(y > 0, 2.0, 2 / 3))


def test_a_class_of_one_sample_is_learned_from(rng):
    labels = np.array([0] * 30 + [1])
    network = NeuralNetwork([1, 1], seed=0)
    given = {"X": labels, "y": labels, "sample_weight": None}
    learned, held_out = bring_samples(network._transfer(**given), given, network._settings).split(0.4)
    assert 30 in learned.chosen
    assert 30 not in held_out.chosen


@pytest.mark.parametrize(("weight", "says"), [
    (np.zeros(N), "^sample_weight must not be all zeros"),
    (np.full(N, 1e308), "^sample_weight must have a finite sum"),
    ("learned", "^sample_weight of the 6 training samples .* must not be all zeros"),
    ("held out", "^sample_weight of the 2 validation samples .* must not be all zeros"),
])  # fmt: skip
def test_the_error_for_weights_of_zero_names_the_samples(weight, says, X, y):
    network = NeuralNetwork([2, 4, 1], seed=0)
    given = {"X": X, "y": y, "sample_weight": None}
    parts = bring_samples(network._transfer(**given), given, network._settings).split(0.25)
    if isinstance(weight, str):
        zero = parts[0 if weight == "learned" else 1]
        weight = np.where(np.isin(np.arange(N), zero.chosen), 0.0, 1.0)
    with pytest.raises(ValueError, match=says):
        network.train(X, y, 0.1, epochs=1, verbose=False, validation_split=0.25, sample_weight=weight)


# ---- Data types and blocks

KINDS = ["bool", "int8", "uint8", "int64", "uint16", "float32", "float64"]


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_every_data_type_give_the_same_training(kind, backend, dtype, monkeypatch, rng):
    """Small arrays are cast at once, others block by block, with the same result."""
    numbers = rng.integers(0, 2, (N, 3))
    X, y = numbers[:, :2], numbers[:, 2]
    results = []
    for each, block in (("float64", BLOCK), (kind, BLOCK), (kind, 100)):
        if backend.device in ("no_float64", "no_x64") and each in ("float64", "int64"):
            each = "float32"
        for name in BLOCKS:
            monkeypatch.setattr(name, block)
        network = NeuralNetwork([2, 4, 1], device=backend, dtype=dtype, seed=0)
        network.train(backend.asarray(X, each), backend.asarray(y, each), 0.5, epochs=3, verbose=False, batch_size=3)
        results.append((backend.to_numpy(network.theta), backend.to_numpy(network.predict(backend.asarray(X, each)))))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        np.testing.assert_array_equal(results[0][1], other[1])


OPTIONS = {
    "shuffled": ({}, {"shuffle": True}),
    "labels": ({"layer_list": [5, 8, 3], "loss": "categorical_crossentropy"}, {"shuffle": True}),
    "split": ({}, {"shuffle": True, "validation_split": 0.3, "metrics": ["r2_score", "mean_absolute_error"]}),
    "classes": (
        {"layer_list": [5, 8, 3], "loss": "categorical_crossentropy"},
        {"class_weight": "balanced", "validation_split": 0.3, "patience": 2},
    ),
    "cast": ({"dtype": "float32"}, {}),
    "dropout": ({"dropout": 0.4}, {"shuffle": True}),
    "weights": ({}, {"sample_weight": np.linspace(0.5, 1.5, 31), "shuffle": True}),
    "a schedule": ({}, {"schedule": cosine(3), "shuffle": True}),
    "an ensemble": ({"ensemble": 3, "dropout": 0.4}, {"shuffle": True, "validation_split": 0.3}),
    "an ensemble of one order": ({"ensemble": 3, "seed": [1, 1, 1]}, {"shuffle": True}),
}


def prepared(settings, rows, rng):
    settings = {"layer_list": [5, 8, 1], "seed": 0, **settings}
    X = rng.random((rows, 5))
    return settings, X, rng.integers(0, 3, rows) if settings["layer_list"][-1] == 3 else rng.random(rows)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(("settings", "training"), OPTIONS.values(), ids=OPTIONS)
def test_training_block_by_block_equals_training_at_once(settings, training, batch_size, backend, monkeypatch, rng):
    settings, X, y = prepared(settings, 31, rng)
    if backend.device in ("no_float64", "no_x64"):
        settings["dtype"] = "float32"
    results = []
    for block in (BLOCK, 1000):
        for name in BLOCKS:
            monkeypatch.setattr(name, block)
        network = NeuralNetwork(**settings, device=backend)
        network.train(X, y, 0.1, epochs=2, verbose=False, batch_size=batch_size, **training)
        results.append((backend.to_numpy(network.theta), dict(network.history)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for name, values in results[0][1].items():
        np.testing.assert_array_equal(values, results[1][1][name])


@pytest.mark.parametrize(("settings", "training"), OPTIONS.values(), ids=OPTIONS)
def test_training_allocates_no_array_for_all_samples(settings, training, monkeypatch, rng):
    """Neither copies nor activations are as large; the order and the classes are a few numbers for each sample."""
    for name in BLOCKS:
        monkeypatch.setattr(name, 2**16)
    monkeypatch.setattr(type(get_backend("cpu")), "step_memory", property(lambda self: 2**16))
    rows = 10_000
    settings, _, y = prepared({**settings, "layer_list": [200, *settings.get("layer_list", [5, 8, 1])[1:]]}, rows, rng)
    X = rng.random((rows, 200))
    training = {**training, "batch_size": 100}
    if "sample_weight" in training:
        training["sample_weight"] = rng.random(rows)
    network = NeuralNetwork(**settings)
    tracemalloc.start()
    network.train(X, y, 0.1, epochs=1, verbose=False, **training)
    network.evaluate(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    number_each = 8 * rows * (settings.get("ensemble") or 1)
    assert peak < 12 * number_each + 2**20 < X.nbytes / 3


REFUSED = [
    ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight must have the shape \(8,\), got \(3,\)"),
    ({"sample_weight": np.ones((N, 1))}, ValueError, r"sample_weight must have the shape \(8,\), got \(8, 1\)"),
    ({"sample_weight": -np.ones(N)}, ValueError, "sample_weight must not be negative"),
    ({"sample_weight": np.full(N, np.nan)}, ValueError, "sample_weight must be finite"),
    ({"sample_weight": np.zeros(N)}, ValueError, "sample_weight must not be all zeros"),
    ({"sample_weight": ["a"] * N}, TypeError, r"sample_weight cannot be converted to an array: it holds 'a' at \[0\]"),
    ({"class_weight": "even"}, TypeError, "class_weight must be 'balanced' or a mapping of labels"),
    ({"class_weight": {2: 1.0}}, ValueError, "class_weight must have labels from 0 to 1 as keys, got 2"),
    ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\] must be 0 or a positive"),
    ({"class_weight": "balanced"}, ValueError, "class_weight needs targets with one class per sample"),
    ({"validation_split": 1.0}, ValueError, "validation_split must be below 1, got 1.0"),
    ({"validation_split": -0.1}, ValueError, "validation_split must be 0 or a positive"),
    ({"validation_split": 0.97}, ValueError, "validation_split must leave samples for training, got 0.97 of 8"),
    ({"validation_split": "half"}, TypeError, "validation_split must be 0 or a positive number, got 'half'"),
    ({"validation_data": 5}, TypeError, r"validation_data must be a tuple \(X, y\) or \(X, y, sample_weight\)"),
    ({"validation_data": ([[1.0, 2.0]],)}, TypeError, "validation_data must be a tuple"),
    ({"validation_data": ([[1.0, 2.0]], [0.5, 0.5])}, ValueError,
     "X of validation_data and y of validation_data must have the same number of samples, got 1 and 2"),
    ({"validation_data": ([[1.0, 2.0]], [5.0])}, ValueError,
     "y of validation_data must be from 0 to 1, .* got values from 5.0 to 5.0"),
    ({"validation_data": ([[1.0]], [0.5])}, ValueError, "X of validation_data must have 2 values per sample"),
    ({"validation_data": ([[1.0, 2.0]], [0.5]), "validation_split": 0.1}, ValueError,
     "validation_split must be 0 with validation_data, got both"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "says"), REFUSED)
def test_invalid_arguments_are_refused(given, error, says, backend, dtype, array, X, y):
    network = NeuralNetwork([2, 4, 1], device=backend, dtype=dtype, seed=0)
    before = np.array(backend.to_numpy(network.theta))
    if isinstance(given.get("sample_weight"), np.ndarray):
        given = {"sample_weight": array(given["sample_weight"])}
    with pytest.raises(error, match=says):
        network.train(array(X), array(y), 0.1, epochs=1, verbose=False, **given)
    np.testing.assert_array_equal(backend.to_numpy(network.theta), before)
    assert network.epochs_trained == 0


def test_weights_on_another_device_are_refused(X, y):
    from xpnet import get_backend

    strict = get_backend("device1", name="array_api_strict")
    with pytest.raises(
        ValueError, match=r"X and sample_weight must be arrays of one library .* got numpy on cpu and array_api_strict"
    ):
        NeuralNetwork([2, 4, 1]).train(X, y, 0.1, sample_weight=strict.asarray(np.ones(N)))


# ---- Warnings, and errors that name the fix


def test_inputs_of_very_different_sizes_cause_one_warning_per_training(backend, dtype, array, rng):
    X = rng.random((N, 3)) * [1.0, 0.01, 5000.0]
    network = NeuralNetwork([3, 2, 1], device=backend, dtype=dtype, seed=0)
    says = (
        r"the columns of X have very different scales, from 0.0\d+ \(column 1\) to [45].*\(column 2\).*StandardScaler"
    )
    with pytest.warns(UserWarning, match=says) as warned:
        network.train(array(X), array(rng.random(N)), 1e-6, epochs=3, verbose=False)
    assert len(warned) == 1
    assert warned[0].filename == __file__


@pytest.mark.parametrize("scale", [[1.0, 0.0001, 50.0], [900.0, 1.0, 1.0], [0.0, 0.0, 5000.0]])
def test_inputs_of_acceptable_sizes_cause_no_warning(scale, rng):
    network = NeuralNetwork([3, 2, 1], seed=0)
    network.train(rng.random((N, 3)) * scale, rng.random(N), 1e-6, epochs=1, verbose=False)


@pytest.mark.parametrize(("bad", "where"), [
    ((3, 1), "row 3, column 1"), ((0, 0), "row 0, column 0"),
])  # fmt: skip
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_the_error_for_a_value_that_is_not_finite_names_its_position(bad, where, value, backend, dtype, array, X):
    if abs(value) == 1e300:  # finite in double precision, but not in that of the network
        dtype, array = "float32", lambda x: backend.asarray(x, "float64")
        if backend.device in ("no_float64", "no_x64"):
            return
    X[bad] = value
    with pytest.raises(ValueError, match=rf"^X must be finite, got NaN or infinity \(as {dtype}\), first in {where}$"):
        NeuralNetwork([2, 1], device=backend, dtype=dtype).predict(array(X))


@pytest.mark.parametrize(("given", "says"), [
    (np.ones((2, N)), r"; use X.T to make samples rows$"), (np.ones(2), r"; use X\[None, :\] for a single sample$"),
    (np.ones((N, 3)), r"got 3 in the shape \(8, 3\)$"),
])  # fmt: skip
def test_the_error_for_transposed_samples_names_the_fix(given, says):
    with pytest.raises(ValueError, match=f"^X must have 2 values per sample, .*{says}"):
        NeuralNetwork([2, 1], seed=0).predict(given)


def test_the_error_for_labels_with_one_output_names_the_number_of_outputs(X):
    with pytest.raises(ValueError, match=r"for labels, use 3 outputs, .*categorical_crossentropy"):
        NeuralNetwork([2, 1], seed=0).train(X, [0, 1, 2, 0, 1, 2, 0, 1], 0.1)
    with pytest.raises(ValueError, match="scale the targets"):
        NeuralNetwork([2, 1], seed=0).train(X, [0, 1.5, 2, 0, 1, 2, 0, 1], 0.1)


@pytest.mark.parametrize("training", [
    {"shuffle": True}, {"validation_split": 0.3}, {"shuffle": True, "validation_split": 0.3, "class_weight": "balanced"}
], ids=str)  # fmt: skip
@pytest.mark.parametrize("ensemble", [None, 3])
def test_samples_may_have_any_memory_layout(training, ensemble, backend, dtype, rng):
    """Column-major and strided arrays give the same training."""
    X, y = rng.random((40, 3)), rng.integers(0, 2, 40)
    wide = np.zeros((80, 6))
    wide[::2, :3] = X
    thetas = []
    for given in (X, np.asfortranarray(X), wide[::2, :3]):
        network = NeuralNetwork([3, 4, 1], device=backend, dtype=dtype, ensemble=ensemble, seed=0)
        network.train(given, y, 0.5, epochs=2, verbose=False, batch_size=7, **training)
        thetas.append(backend.to_numpy(network.theta))
    np.testing.assert_allclose(thetas[1], thetas[0], rtol=1e-5)
    np.testing.assert_allclose(thetas[2], thetas[0], rtol=1e-5)


def test_the_own_samples_of_each_network_may_have_any_memory_layout(rng):
    X, y = rng.random((3, 40, 2)), rng.random((3, 40, 1))
    thetas = []
    for given in (X, np.ascontiguousarray(X.transpose(1, 0, 2)).transpose(1, 0, 2)):
        network = NeuralNetwork([2, 4, 1], ensemble=3, seed=0)
        network.train(given, y, 0.5, epochs=2, verbose=False, batch_size=7, shuffle=True, validation_split=0.3)
        thetas.append(network.theta)
    np.testing.assert_allclose(thetas[1], thetas[0], rtol=1e-10)


def test_column_major_samples_are_not_copied_as_a_whole(rng, monkeypatch):
    for name in BLOCKS:
        monkeypatch.setattr(name, 2**20)
    monkeypatch.setattr(type(get_backend("cpu")), "step_memory", property(lambda self: 2**20))
    X, y = np.asfortranarray(rng.random((20_000, 200))), rng.random(20_000)
    network = NeuralNetwork([200, 2, 1], seed=0)
    tracemalloc.start()
    network.train(X, y, 0.1, epochs=1, verbose=False, batch_size=500, shuffle=True, validation_split=0.3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4  # a copy of all samples needs as much again
