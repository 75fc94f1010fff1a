"""Training in several calls equals training in one call, with every option."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from xpnet import NeuralNetwork
from xpnet.schedules import exponential, reduce_on_plateau

# What depends on the epoch, and what is passed from epoch to epoch.
VARIANTS = {
    "an order for each epoch": ({}, {"shuffle": True}),
    "the optimizer's state": ({"optimizer": "adam"}, {}),
    "the time of a schedule": ({}, {"schedule": exponential(0.7)}),
    "the history of a schedule": ({}, {"schedule": reduce_on_plateau(0.5, patience=0)}),
    "dropout masks": ({"dropout": [0.5, 0.0]}, {}),
    "an ensemble": ({"ensemble": 3, "dropout": 0.3}, {"shuffle": True, "members_at_once": 2}),
    "everything together": (
        {"optimizer": "adamw", "dropout": 0.3, "ensemble": 2},
        {"shuffle": True, "schedule": exponential(0.7), "metrics": "r2_score", "validation_split": 0.3},
    ),
}


@pytest.mark.parametrize(("settings", "training"), VARIANTS.values(), ids=VARIANTS)
def test_training_in_two_calls_equals_training_in_one(settings, training, backend, dtype, array, rng):
    X, y = array(rng.standard_normal((7, 2))), array(rng.random(7))
    settings = {**settings, "device": backend, "dtype": dtype, "seed": 3}
    in_one, in_two = (NeuralNetwork([2, 6, 5, 1], **settings) for _ in range(2))
    training = {"batch_size": 2, "verbose": False, **training}
    in_one.train(X, y, 0.5, epochs=4, **training)
    for epochs in (1, 3):
        in_two.train(X, y, 0.5, epochs=epochs, **training)
    np.testing.assert_array_equal(backend.to_numpy(in_one.theta), backend.to_numpy(in_two.theta))
    for name in in_one.history:
        np.testing.assert_array_equal(in_one.history[name], in_two.history[name])


LARGE = {
    "sgd": ({"optimizer": "sgd"}, {}, 6),
    "adam": ({}, {}, 6),
    "adamw": ({"optimizer": "adamw"}, {}, 6),
    "penalties": ({"l2": 0.1, "l1": 0.1, "clip_norm": 1.0, "weight_decay": 0.1}, {}, 7),
    "patience": ({}, {"patience": 5}, 9),
}


@pytest.mark.parametrize(("settings", "training", "times"), LARGE.values(), ids=LARGE)
def test_a_large_network_needs_memory_for_a_few_times_its_parameters(settings, training, times, rng):
    """Two states, the gradient, and two temporary arrays; with patience also the best state."""
    n = 512
    tracemalloc.start()
    network = NeuralNetwork([n, n], **{"optimizer": "adam", "activations": ["identity"], "seed": 0, **settings})
    X, size = rng.random((8, n)), network.theta.nbytes
    rates = [1e-3, 1e-3] if training else [1e-3]
    for rate in rates:
        network.train(X, X, rate, epochs=3, batch_size=4, verbose=False, **training)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (len(network._snapshot.optimizer_state[:2]) + 1 + times + 0.2) * size


def test_the_loss_of_an_epoch_includes_very_many_steps(monkeypatch, rng):
    X, y, losses = rng.random(25), rng.random(25), []
    for most in (10_000, 7, 25, 5):
        monkeypatch.setattr("xpnet.backends.base._LOSSES", most)
        network = NeuralNetwork([1, 3, 1], seed=0)
        network.train(X, y, 0.1, epochs=2, verbose=False)
        losses.append(network.epoch_loss)
    assert losses[0] == losses[1] == losses[2] == losses[3]
