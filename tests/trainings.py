"""Trainings that must give the same network whether they are compiled or not, for every compiler."""

from __future__ import annotations

import numpy as np

from xpnet import NeuralNetwork
from xpnet.schedules import cosine, reduce_on_plateau

RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.standard_normal((7, 2)), RNG.random((7, 2)), np.array([0, 1, 1, 0, 1, 0, 0])
WEIGHTS, MANY = RNG.uniform(0.5, 1.5, 7), 17  # so many networks use lanes in the tests of the compiler for the CPU


def trained(compile, settings=None, training=None, *, data=(X, Y), sizes=(2, 4, 2)):
    network = NeuralNetwork(list(sizes), **{"activations": ["tanh", "sigmoid"], "seed": 3, **(settings or {})})
    options = {"learning_rate": 0.1, "epochs": 4, "verbose": False, **(training or {})}
    network.train(*data, **options, compile=compile)
    return network


def assert_close(compiled, eager):
    """Compare weights, history and the best epoch of two networks."""
    tolerance = {"float64": 1e-11, "float32": 1e-4}[eager.dtype]
    assert compiled.theta.dtype == eager.theta.dtype
    assert compiled.epochs_trained == eager.epochs_trained
    assert list(compiled.history) == list(eager.history)
    np.testing.assert_array_equal(compiled.best_epoch, eager.best_epoch)
    np.testing.assert_allclose(compiled.theta, eager.theta, rtol=0.0, atol=tolerance * np.abs(eager.theta).max())
    for name in eager.history:
        assert compiled.history[name].dtype == eager.history[name].dtype
        np.testing.assert_allclose(compiled.history[name], eager.history[name], rtol=10 * tolerance, equal_nan=True)


def each(low, high):
    """Return a number for each of many networks."""
    return np.linspace(low, high, MANY)


FOR_EACH_STEP = np.linspace(0.5, 1.5, MANY)
TRAININGS = {
    "sample by sample": ({}, {}),
    "in batches, the last one smaller": ({}, {"batch_size": 3}),
    "all at once": ({}, {"batch_size": None}),
    "shuffled": ({}, {"shuffle": True, "batch_size": 2}),
    "in a given order": ({}, {"orders": lambda epoch: np.roll([5, 0, 3, 2], epoch), "batch_size": 3}),
    "dropout": ({"dropout": 0.4}, {"batch_size": 3}),
    "sample weights": ({}, {"sample_weight": WEIGHTS}),
    "regularization": ({"l1": 0.01, "l2": 0.1, "weight_decay": 0.1, "clip_norm": 0.1}, {}),
    "a penalty on the total": ({"alpha": 0.5, "clip_norm": 1.0}, {"batch_size": 3, "sample_weight": WEIGHTS}),
    "no penalty on the total": ({"alpha": 0.0}, {"batch_size": 3, "shuffle": True}),
    "adam": ({"optimizer": "adam"}, {"learning_rate": 0.01}),
    "a schedule": ({}, {"schedule": cosine(4), "batch_size": 3}),
    "a schedule that reads the history": ({}, {"schedule": reduce_on_plateau(0.5, patience=0)}),
    "a validation and early stopping": (
        {},
        {"validation_split": 0.3, "patience": 2, "epochs": 30, "learning_rate": 2.0, "metrics": "r2_score"},
    ),
    "all together": (
        {"optimizer": "adamw", "dropout": 0.3, "l2": 0.1, "clip_norm": 1.0},
        {"shuffle": True, "schedule": cosine(4), "batch_size": 3, "sample_weight": WEIGHTS, "learning_rate": 0.01},
    ),
}
NETWORKS = {"one network": {}, "an ensemble of 4": {"ensemble": 4}, "an ensemble of 40": {"ensemble": 40}}

OF_MANY = {
    "learning rates": ({}, {"learning_rate": each(0.01, 0.5)}, {}),
    "penalties": ({"l2": each(0.0, 0.5), "weight_decay": each(0.0, 0.1)}, {}, {}),
    "penalties on totals": ({"alpha": each(0.0, 5.0)}, {"batch_size": 3, "sample_weight": 3.0 * WEIGHTS}, {}),
    "scales": ({"initial_scale": each(0.1, 2.0)}, {}, {}),
    "samples": ({}, {"shuffle": True, "batch_size": 3}, {"data": (X * each(0.5, 2.0)[:, None, None], Y)}),
    "weights of samples": ({}, {"sample_weight": np.outer(each(1.0, 2.0), WEIGHTS) ** each(0.5, 1.0)[:, None]}, {}),
    "rows": ({}, {"orders": lambda epoch: np.random.default_rng(epoch).integers(0, 7, (MANY, 5)), "batch_size": 2}, {}),
    "a schedule": ({}, {"schedule": lambda xp, t, history: xp.exp(-t)[:, None] * xp.asarray(FOR_EACH_STEP)}, {}),
    "chunks of networks": ({"dropout": 0.3}, {"members_at_once": 3, "shuffle": True}, {}),
    "chunks of many": ({}, {"members_at_once": 16, "learning_rate": each(0.01, 0.5)}, {}),
    "early stopping": ({}, {"patience": 1, "epochs": 20, "learning_rate": each(0.01, 8.0)}, {}),
}

DATA = {
    "labels": {"data": (X, LABELS)},
    "classes of different weight": {"data": (X, LABELS), "training": {"class_weight": "balanced"}},
    "labels of one output": {"data": (X, LABELS), "sizes": (2, 4, 1)},
    "one input": {"data": (X[:, 0], Y[:, 0]), "sizes": (1, 3, 1)},
    "whole numbers": {"data": (np.arange(14).reshape(7, 2), Y)},
    "single precision in double": {"data": (X.astype("float32"), Y)},
    "lists": {"data": (X.tolist(), Y.tolist())},
    "columns in memory": {"data": (np.asfortranarray(X), np.asfortranarray(Y))},
    "a part of an array": {"data": (np.repeat(X, 2, axis=0)[::2], Y[::-1])},
}
