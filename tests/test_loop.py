"""Training in parts is training at once, whatever is trained and however."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import NeuralNetwork
from xpnet.schedules import exponential, reduce_on_plateau

# What depends on the epoch, and what is carried from epoch to epoch.
VARIANTS = {
    "an order for each epoch": ({}, {"shuffle": True}),
    "the optimizer's state": ({"optimizer": "adam"}, {}),
    "the time of a schedule": ({}, {"schedule": exponential(0.7)}),
    "what a schedule has watched": ({}, {"schedule": reduce_on_plateau(0.5, patience=0)}),
    "masks": ({"dropout": [0.5, 0.0]}, {}),
    "an ensemble": ({"ensemble": 3, "dropout": 0.3}, {"shuffle": True, "members_at_once": 2}),
    "all of it": (
        {"optimizer": "adamw", "dropout": 0.3, "ensemble": 2},
        {"shuffle": True, "schedule": exponential(0.7), "metrics": "r2_score", "validation_split": 0.3},
    ),
}


@pytest.mark.parametrize(("settings", "training"), VARIANTS.values(), ids=VARIANTS)
def test_training_in_parts_is_training_at_once(settings, training, backend, dtype, array, rng):
    X, y = array(rng.standard_normal((7, 2))), array(rng.random(7))
    settings = {**settings, "device": backend, "dtype": dtype, "seed": 3}
    at_once, in_parts = (NeuralNetwork([2, 6, 5, 1], **settings) for _ in range(2))
    training = {"batch_size": 2, "verbose": False, **training}
    at_once.train(X, y, 0.5, epochs=4, **training)
    for epochs in (1, 3):
        in_parts.train(X, y, 0.5, epochs=epochs, **training)
    np.testing.assert_array_equal(backend.to_numpy(at_once.theta), backend.to_numpy(in_parts.theta))
    for name in at_once.history:
        np.testing.assert_array_equal(at_once.history[name], in_parts.history[name])
