"""Schedules follow their curve, step by step, on every backend, and continue where training stopped."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from oracles import ORACLES, PLATEAUS, losses

from xpnet import NeuralNetwork, get_backend
from xpnet.schedules import constant, cosine, exponential, inverse_scaling, reduce_on_plateau, step, warm_up
from xpnet.training.history import History

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
def test_a_schedule_follows_its_curve(schedule, factors):
    np.testing.assert_allclose(schedule(np, T, History()), factors, rtol=1e-12)


@every_schedule
def test_a_schedule_can_be_pickled(schedule, factors):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(schedule))(np, T, History()), schedule(np, T, History()))


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_every_step_uses_the_learning_rate_of_its_time(batch_size, backend, dtype, rng):
    """Compared with single steps: the factors of 7 samples in batches of 3 are those at 0, 1/3 and 2/3."""
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    schedule = warm_up(1.5, cosine(2))
    scheduled, by_hand = (NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0) for _ in range(2))
    scheduled.train(X, y, 0.5, epochs=3, verbose=False, batch_size=batch_size, schedule=schedule)
    size = batch_size or 7
    for epoch in range(3):
        for i, start in enumerate(range(0, 7, size)):
            samples = slice(start, start + size)
            factor = float(schedule(np, np.asarray(epoch + i / len(range(0, 7, size))), History()))
            AL = by_hand.deep_forward(X[samples].T)
            if factor > 0:
                by_hand.update_parameters(by_hand.backward_pass(y[samples], AL), 0.5 * factor)
    np.testing.assert_allclose(
        backend.to_numpy(scheduled.theta), backend.to_numpy(by_hand.theta), rtol=1e-5 if dtype == "float32" else 1e-12
    )


def test_a_constant_schedule_changes_nothing(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    plain, constantly = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    plain.train(X, y, 0.5, epochs=2, verbose=False)
    constantly.train(X, y, 0.5, epochs=2, verbose=False, schedule=constant)
    np.testing.assert_array_equal(plain.theta, constantly.theta)


@pytest.mark.parametrize(("schedule", "says"), [
    (lambda xp, t, history: t[:1], r"what the schedule returns for epoch 0 must have the shape \(7,\), got \(1,\)"),
    (lambda xp, t, history: t * np.nan, "what the schedule returns for epoch 0 must be finite"),
    (lambda xp, t, history: t - 2.0, "epoch 0 must not be negative, nor 0 in all steps, got values from -2.0"),
])  # fmt: skip
def test_an_invalid_custom_schedule_is_refused(schedule, says, rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    before = network.theta.copy()
    with pytest.raises(ValueError, match=says):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, verbose=False, schedule=schedule)
    np.testing.assert_array_equal(network.theta, before)


@pytest.mark.parametrize("make", [
    lambda: step(0), lambda: step(3, gamma=-1.0), lambda: exponential(0.0), lambda: cosine(-5),
    lambda: cosine(5, least=-0.1), lambda: inverse_scaling(power=0.0), lambda: warm_up(0), lambda: warm_up(5, start=-1),
])  # fmt: skip
def test_invalid_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"must be (0 or )?a positive number, finite"):
        make()


def test_a_schedule_that_has_reached_zero_is_refused_before_training(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(X, y, 0.1, epochs=5, verbose=False, schedule=cosine(5))
    with pytest.raises(ValueError, match="returns for epoch 5 must not be negative, nor 0 in all steps"):
        network.train(X, y, 0.1, epochs=5, verbose=False, schedule=cosine(5))
    assert network.epochs_trained == 5


def test_an_infinite_factor_in_a_later_epoch_is_refused_before_the_first(rng):
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(ValueError, match="what the schedule returns for epoch 1 must be finite"):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, verbose=False, schedule=exponential(1e200))
    assert network.epochs_trained == 0


@pytest.mark.parametrize("epoch", [1, 4, 29])
def test_an_invalid_factor_in_any_epoch_is_refused_before_the_first(epoch, rng):
    network = NeuralNetwork([2, 3, 1], seed=0)

    def schedule(xp, t, history):
        return "fast" if t[0] >= epoch else xp.ones_like(t)

    with pytest.raises(TypeError, match=f"what the schedule returns for epoch {epoch} must hold real numbers"):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, 30, verbose=False, schedule=schedule)
    assert network.epochs_trained == 0


@pytest.mark.parametrize("read", [lambda h: h["loss"][-1], lambda h: h.epochs, lambda h: len([*h]), bool])
def test_a_schedule_may_depend_on_the_history(read, rng):
    network = NeuralNetwork([2, 3, 1], seed=0)

    def schedule(xp, t, history):
        return xp.full_like(t, 1.0 + float(read(history)) if t[0] >= 1 else 1.0)

    network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, 5, verbose=False, schedule=schedule)
    assert network.epochs_trained == 5


def test_a_schedule_that_fails_in_a_later_epoch_keeps_the_epochs_before(rng):
    network = NeuralNetwork([2, 3, 1], seed=0)

    def schedule(xp, t, history):
        return xp.ones_like(t) if t[0] < 3 or history.epochs < 3 else None

    with pytest.raises(TypeError, match="what the schedule returns for epoch 3"):
        network.train(rng.standard_normal((7, 2)), rng.random(7), 0.1, 5, verbose=False, schedule=schedule)
    assert network.epochs_trained == len(network.epoch_loss) == 3


def test_warm_up_refuses_an_invalid_schedule():
    with pytest.raises(TypeError, match="after must be a schedule, got 95"):
        warm_up(5, 95)


# ---- Reduce on plateau


def record(history, *values, **others):
    """Return the history with more epochs."""
    for value in values:
        history = history.with_epochs(get_backend("cpu"), {"loss": np.asarray([value]), **others})
    return history


@pytest.mark.parametrize("name", PLATEAUS)
def test_reduce_on_plateau_equals_pytorchs(name):
    schedule, history, factors = reduce_on_plateau(**PLATEAUS[name]), History(), []
    for loss in [*losses(), None]:
        factors.append(float(schedule(np, np.zeros(1), history)[0]))
        if loss is not None:
            history = record(history, loss)
    np.testing.assert_allclose(factors, ORACLES["plateaus"][name], rtol=1e-12, atol=2e-8)  # PyTorch stops at 1e-8


def test_reduce_on_plateau_depends_only_on_the_history():
    """A new schedule, a copy, and one that was used with another history return the same factors."""
    schedule, history = reduce_on_plateau(0.5, patience=1), History()
    for loss in losses():
        history = record(history, loss)
        schedule(np, np.zeros(1), history)
    expected = schedule(np, np.zeros(2), history)
    late, copied = reduce_on_plateau(0.5, patience=1), pickle.loads(pickle.dumps(schedule))
    schedule(np, np.zeros(1), History())
    for each in (late, copied, schedule):
        np.testing.assert_array_equal(each(np, np.zeros(2), history), expected)
    for other in (history.until(3), record(history.until(3), 9.0, 9.0, 9.0, 9.0), history):
        fresh = reduce_on_plateau(0.5, patience=1)
        np.testing.assert_array_equal(schedule(np, np.zeros(2), other), fresh(np, np.zeros(2), other))


def test_reduce_on_plateau_monitors_the_validation_loss_if_there_is_one():
    schedule, history = reduce_on_plateau(0.5, patience=0), History()
    for loss in (1.0, 0.5, 0.2):
        history = record(history, loss, validation_loss=np.asarray([1.0]))
    assert schedule(np, np.zeros(1), history) == [0.25]


def test_reduce_on_plateau_never_reaches_zero(rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    network = NeuralNetwork([2, 3, 1], dtype="float32", seed=0)
    schedule = reduce_on_plateau(0.1, patience=1, threshold=0.5)
    network.train(X, y, 0.1, epochs=120, verbose=False, schedule=schedule, batch_size=None)
    assert 0.0 < schedule(np, np.zeros(1), network.history)[0] <= 1e-7


def test_reduce_on_plateau_has_a_factor_for_each_network_of_an_ensemble():
    """The first loss falls, the second is constant, the third has diverged; all share the warm-up."""
    schedule, history = warm_up(1, reduce_on_plateau(0.5, patience=0)), History((3,))
    history = record(history, [3.0, 1.0, np.nan], [2.0, 1.0, np.nan], [1.0, 1.0, np.nan])
    factors = schedule(np, np.array([0.0, 0.5, 1.0]), history)
    np.testing.assert_allclose(factors, [[0.1] * 3, [0.55] * 3, [1.0, 0.25, 1.0]])


def test_reduce_on_plateau_improves_a_training_with_too_high_a_learning_rate(backend, dtype, rng):
    X, y = rng.standard_normal((7, 2)), rng.random(7)
    scheduled, plain = (NeuralNetwork([2, 3, 1], device=backend, dtype=dtype, seed=0) for _ in range(2))
    scheduled.train(X, y, 20.0, epochs=40, verbose=False, schedule=reduce_on_plateau(0.3, patience=2))
    plain.train(X, y, 20.0, epochs=40, verbose=False)
    assert scheduled.epoch_loss[-1] < plain.epoch_loss[-1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"factor": 1.0}, "factor must be below 1"),
        ({"factor": 0}, "factor must be a positive"),
        ({"patience": -1}, "patience must be 0 or a positive integer"),
        ({"cooldown": -1}, "cooldown must be 0 or a positive integer"),
        ({"threshold": -0.1}, "threshold must be 0 or a positive"),
        ({"least": float("nan")}, "least must be 0 or a positive"),
    ],
)
def test_reduce_on_plateau_refuses_invalid_settings(settings, says):
    with pytest.raises(ValueError, match=says):
        reduce_on_plateau(**settings)


def test_a_schedule_without_its_arguments_is_refused():
    with pytest.raises(
        TypeError, match=r"schedule, such as .*cosine\(50\), must be a function \(xp, t, history\), got"
    ):
        NeuralNetwork([1, 1]).train([0.0], [0.0], 0.1, schedule=cosine)
