"""Schedules follow their curve, step by step, on every backend, and go on where training stopped."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from xpnet import NeuralNetwork
from xpnet.schedules import constant, cosine, exponential, inverse_scaling, step, warm_up

T = np.array([0.0, 0.5, 1.0, 2.0, 2.9, 3.0, 10.0, 40.0])
CURVES = {
    "constant": (constant, [1, 1, 1, 1, 1, 1, 1, 1]),
    "step": (step(3), [1, 1, 1, 1, 1, 0.1, 1e-3, 1e-13]),
    "exponential": (exponential(0.5), 0.5**T),
    "cosine": (cosine(10, least=0.2), [0.2 + 0.4 * (1 + np.cos(np.pi * min(t, 10) / 10)) for t in T]),
    "inverse_scaling": (inverse_scaling(power=1.0), 1 / (1 + T)),
    "warm_up": (warm_up(2, exponential(0.5)), [0.1, 0.325, 0.55, 1, 0.5**0.9, 0.5, 0.5**8, 0.5**38]),
}
every_schedule = pytest.mark.parametrize(("schedule", "factors"), CURVES.values(), ids=CURVES)


@every_schedule
def test_the_curve(schedule, factors):
    np.testing.assert_allclose(schedule(np, T), factors, rtol=1e-12)


@every_schedule
def test_a_schedule_can_be_pickled(schedule, factors):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(schedule))(np, T), schedule(np, T))


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_every_step_takes_the_learning_rate_of_its_time(batch_size, backend, dtype, rng):
    """One step at a time by hand: the factors of 7 samples in steps of 3 are those at 0, 1/3 and 2/3."""
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    schedule = warm_up(1.5, cosine(2))
    scheduled, by_hand = (NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0) for _ in range(2))
    scheduled.train(X, y, 0.5, epochs=3, verbose=False, batch_size=batch_size, schedule=schedule)
    size = batch_size or 7
    for epoch in range(3):
        for i, start in enumerate(range(0, 7, size)):
            samples = slice(start, start + size)
            factor = float(schedule(np, np.asarray(epoch + i / len(range(0, 7, size)))))
            AL = by_hand.deep_forward(X[samples].T)
            if factor > 0:
                by_hand.update_parameters(by_hand.backward_pass(y[samples], AL), 0.5 * factor)
    np.testing.assert_allclose(
        backend.to_numpy(scheduled.theta), backend.to_numpy(by_hand.theta), rtol=1e-5 if dtype == "float32" else 1e-12
    )


def test_the_time_goes_on_from_call_to_call(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    at_once, in_parts = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    options = {"verbose": False, "schedule": exponential(0.7), "shuffle": True, "batch_size": 2}
    at_once.train(X, y, 0.5, epochs=5, **options)
    for epochs in (2, 3):
        in_parts.train(X, y, 0.5, epochs=epochs, **options)
    np.testing.assert_array_equal(at_once.theta, in_parts.theta)


def test_a_constant_schedule_changes_nothing(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    plain, constantly = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    plain.train(X, y, 0.5, epochs=2, verbose=False)
    constantly.train(X, y, 0.5, epochs=2, verbose=False, schedule=constant)
    np.testing.assert_array_equal(plain.theta, constantly.theta)


@pytest.mark.parametrize(("schedule", "says"), [
    (lambda xp, t: t[:1], r"what the schedule answers for epoch 0 must have the shape \(7,\), got \(1,\)"),
    (lambda xp, t: t * np.nan, "what the schedule answers for epoch 0 must be finite"),
    (lambda xp, t: t - 2.0, "epoch 0 must not be negative, nor 0 throughout, but reaches from -2.0"),
])  # fmt: skip
def test_a_users_own_that_makes_no_sense_is_refused(schedule, says, rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    before = network.theta.copy()
    with pytest.raises(ValueError, match=says):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, verbose=False, schedule=schedule)
    np.testing.assert_array_equal(network.theta, before)


@pytest.mark.parametrize("make", [
    lambda: step(0), lambda: step(3, gamma=-1.0), lambda: exponential(0.0), lambda: cosine(-5),
    lambda: cosine(5, least=-0.1), lambda: inverse_scaling(power=0.0), lambda: warm_up(0), lambda: warm_up(5, start=-1),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="must be a positive, finite number"):
        make()


def test_a_schedule_at_its_end_is_said_before_training_on_in_vain(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(X, y, 0.1, epochs=5, verbose=False, schedule=cosine(5))
    with pytest.raises(ValueError, match="answers for epoch 5 must not be negative, nor 0 throughout"):
        network.train(X, y, 0.1, epochs=5, verbose=False, schedule=cosine(5))
    assert network.epochs_trained == 5


def test_what_goes_wrong_in_the_last_epoch_is_found_before_the_first(rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(ValueError, match="what the schedule answers for epoch 9 must be finite"):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, verbose=False, schedule=exponential(1e200))
    assert network.epochs_trained == 0


def test_a_warm_up_before_no_schedule_is_refused():
    with pytest.raises(TypeError, match="after must be a schedule, got 95"):
        warm_up(5, 95)
