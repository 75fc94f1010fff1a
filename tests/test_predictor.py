"""Predictions have the shape of the targets in training, and predicted labels have their type."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from xpnet import NeuralNetwork, load_checkpoint, save_checkpoint

N = 7


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 2))


SHAPES = {"(N,)": (N,), "(N, 1)": (N, 1), "(N, 1, 1)": (N, 1, 1)}


@pytest.mark.parametrize("like", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("given", [(N, 2), (N, 2, 1)], ids=str)
def test_predictions_have_the_shape_of_the_targets(given, like, backend, dtype, array, rng):
    X = array(rng.random(given))
    network = NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0)
    assert network.predict(X).shape == ((N, 1, 1) if len(given) == 3 else (N, 1))  # no targets yet
    network.train(X, array(rng.random(like)), 0.1, epochs=1, verbose=False)
    assert network.predict(X).shape == like
    assert network.predict(X[:2, ...]).shape == (2, *like[1:])


def test_targets_minus_predictions_are_one_number_for_each_sample(X, rng):
    y = rng.random(N)
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(X, y, 0.1, epochs=1, verbose=False)
    assert (network.predict(X) - y).shape == (N,)


@pytest.mark.parametrize("like", [(N,), (N, 3), (N, 3, 1)], ids=["labels", "rows", "stacks"])
def test_several_outputs_are_rows_or_the_documents_stacks(like, X, rng):
    network = NeuralNetwork([2, 3], loss="categorical_crossentropy", seed=0)
    y = rng.integers(0, 3, N) if len(like) == 1 else rng.random(like)
    network.train(X, y, 0.1, epochs=1, verbose=False)
    assert network.predict(X).shape == ((N, 3) if len(like) == 1 else like)


@pytest.mark.parametrize("own", [False, True])
def test_predictions_of_an_ensemble_have_a_leading_ensemble_axis(own, X, rng):
    network = NeuralNetwork([2, 3, 1], ensemble=4, seed=0)
    y = rng.random((4, N, 1) if own else N)
    network.train(X, y, 0.1, epochs=1, verbose=False)
    assert network.predict(X).shape == ((4, N, 1) if own else (4, N))
    assert network.member(0).predict(X).shape == ((N, 1) if own else (N,))


def test_copies_and_checkpoints_keep_the_shape_of_the_targets(X, rng, tmp_path):
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(X, rng.integers(0, 2, N).astype("uint8"), 0.1, epochs=1, verbose=False)
    save_checkpoint(network, tmp_path / "network.safetensors")
    loaded = NeuralNetwork([2, 3, 1])
    loaded.load_state_dict(network.state_dict())
    for other in (copy.deepcopy(network), load_checkpoint(tmp_path / "network.safetensors"), loaded):
        np.testing.assert_array_equal(other.predict(X), network.predict(X))
        assert other.predict_classes(X).dtype == "uint8"


# The layers, the settings, and the class that the outputs stand for.
CLASSES = [
    ([2, 3], {"loss": "categorical_crossentropy"}, lambda A: A.argmax(axis=-1)),
    ([2, 3], {"activations": ["softmax"]}, lambda A: A.argmax(axis=-1)),
    ([2, 3], {}, lambda A: A.argmax(axis=-1)),
    ([2, 1], {"loss": "binary_crossentropy"}, lambda A: (A[..., 0] > 0.5).astype(int)),
    ([2, 1], {}, lambda A: (A[..., 0] > 0.5).astype(int)),
    ([2, 1], {"activations": ["tanh"]}, lambda A: np.where(A[..., 0] > 0, 1, -1)),
    ([2, 3], {"loss": "binary_crossentropy"}, lambda A: (A > 0.5).astype(int)),
]


@pytest.mark.parametrize(("layers", "settings", "classes"), CLASSES)
@pytest.mark.parametrize("ensemble", [None, 3])
def test_predict_classes_returns_the_classes_that_the_outputs_stand_for(
    layers, settings, classes, ensemble, backend, dtype, array, X
):
    network = NeuralNetwork(layers, device=backend, dtype=dtype, seed=0, ensemble=ensemble, **settings)
    if backend.device == "no_x64":
        pytest.skip("there is no int64, and no labels define another type")
    labels, outputs = network.predict_classes(array(X)), backend.to_numpy(network.predict(array(X)))
    assert type(backend).of(labels) == backend
    assert str(labels.dtype).endswith("int64")
    np.testing.assert_array_equal(backend.to_numpy(labels), classes(outputs))


@pytest.mark.parametrize("kind", ["bool", "uint8", "int32", "float32"])
def test_predicted_labels_have_the_type_of_the_labels_in_training(kind, backend, dtype, array, X, rng):
    y = backend.asarray(rng.integers(0, 2, N), kind)
    network = NeuralNetwork([2, 1], loss="binary_crossentropy", device=backend, dtype=dtype, seed=0)
    network.train(array(X), y, 0.1, epochs=1, verbose=False)
    labels = network.predict_classes(array(X))
    assert str(labels.dtype).endswith(kind)
    assert labels.shape == (N,)


def test_accuracy_is_the_fraction_of_correct_predicted_classes(X, rng):
    y = rng.integers(0, 3, N)
    network = NeuralNetwork([2, 3], loss="categorical_crossentropy", seed=0)
    assert network.evaluate(X, y, metrics="accuracy")["accuracy"] == pytest.approx(
        np.mean(network.predict_classes(X) == y)
    )


def test_predict_classes_refuses_outputs_that_are_not_classes(X):
    with pytest.raises(ValueError, match="predict_classes needs a classifier, got a regression loss"):
        NeuralNetwork([2, 1], activations=["identity"], seed=0).predict_classes(X)
