"""L-BFGS is SciPy's, on the loss and the gradient of the network, on every backend."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import optimize

from xpnet import Loss, NeuralNetwork


@pytest.fixture
def data(rng):
    X = rng.standard_normal((20, 2))
    return X, np.sin(X[:, 0]) * X[:, 1]


def network(**settings):
    return NeuralNetwork([2, 5, 1], activations=["tanh", "identity"], initializer="glorot_normal", seed=0, **settings)


def value_and_gradient(vector, X, y, l2=0.0, weight=None):
    """Return the loss and the gradient of this network, computed independently."""
    W1, b1, W2, b2 = vector[:10].reshape(5, 2), vector[10:15, None], vector[15:20][None, :], vector[20]
    weight = np.ones(len(y)) if weight is None else weight / weight.mean()
    A1 = np.tanh(W1 @ X.T + b1)
    error = (W2 @ A1 + b2)[0] - y
    value = 0.5 * np.mean(weight * error**2) + 0.5 * l2 * (np.sum(W1**2) + np.sum(W2**2))
    dZ2 = (weight * error / len(y))[None, :]
    dZ1 = (W2.T @ dZ2) * (1 - A1**2)
    parts = [dZ1 @ X + l2 * W1, dZ1.sum(axis=1), dZ2 @ A1.T + l2 * W2, dZ2.sum(axis=1)]
    return value, np.concatenate([part.ravel() for part in parts])


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_train_lbfgs_equals_scipy_on_the_same_function(l2, backend, dtype, array, data):
    X, y = data
    weight = np.linspace(0.5, 1.5, len(y))
    trained = network(l2=l2, device=backend, dtype=dtype)
    start = np.array(backend.to_numpy(trained.theta), dtype=np.float64)
    trained.train_lbfgs(array(X), array(y), epochs=8, verbose=False, sample_weight=array(weight))
    expected = optimize.minimize(
        value_and_gradient, start, (X, y, l2, weight), method="L-BFGS-B", jac=True, options={"maxiter": 8}
    )
    tolerance = {"float64": 1e-8, "float32": 2e-2}[dtype]
    np.testing.assert_allclose(backend.to_numpy(trained.theta), expected.x, rtol=tolerance, atol=tolerance)
    penalty = l2 * 0.5 * sum(np.sum(np.square(backend.to_numpy(trained.parameters[name]))) for name in ("W1", "W2"))
    assert trained.epoch_loss[-1] + penalty == pytest.approx(expected.fun, rel=tolerance)
    assert trained.epochs_trained == expected.nit == 8


def test_train_lbfgs_fits_a_small_data_set(backend, dtype, array, data):
    trained = network(device=backend, dtype=dtype)
    trained.train_lbfgs(array(data[0]), array(data[1]), epochs=200, verbose=False)
    assert trained.epoch_loss[-1] < 1e-3
    assert (np.diff(trained.epoch_loss) < 1e-6).all()


def test_training_stops_when_the_gradient_is_small(data):
    trained = network()
    trained.train_lbfgs(*data, epochs=500, verbose=False, gradient_tol=0.05)
    assert trained.epochs_trained < 500
    _, gradient = value_and_gradient(trained.theta, *data)
    assert np.abs(gradient).max() <= 0.05


def test_training_does_not_stop_because_the_loss_falls_slowly(data):
    trained = network(l2=0.001)
    trained.train_lbfgs(*data, epochs=5000, verbose=False, gradient_tol=1e-8)
    _, gradient = value_and_gradient(trained.theta, *data, l2=0.001)
    assert np.abs(gradient).max() <= 1e-8


def test_training_has_history_reports_and_callbacks_like_train(data, capsys):
    trained = network()
    trained.train_lbfgs(
        *data, epochs=300, verbose_epoch=2, metrics="r2_score", validation_split=0.4, patience=3,
        callbacks=lambda n: n.stop_training() if n.epochs_trained == 5 else None,
    )  # fmt: skip
    assert list(trained.history) == ["loss", "r2_score", "validation_loss", "validation_r2_score"]
    assert trained.epochs_trained == 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" Loss")[0] for line in lines[:3]] == [f"Epoch {i}" for i in (0, 2, 4)]
    assert lines[3].startswith("Ended after epoch 4: restored epoch")
    trained.train(*data, 0.01, epochs=1, verbose=False)
    assert trained.epochs_trained == 6


def test_early_stopping_restores_the_best_epoch(data):
    trained = network()
    trained.train_lbfgs(*data, epochs=300, verbose=False, validation_split=0.4, patience=5)
    best = int(np.argmin(trained.history["validation_loss"]))
    assert trained.epochs_trained == best + 6
    again = network()
    again.train_lbfgs(*data, epochs=best + 1, verbose=False, validation_split=0.4)
    np.testing.assert_array_equal(trained.theta, again.theta)


def test_ctrl_c_keeps_the_completed_epochs(data):
    def stop(network):
        if network.epochs_trained == 4:
            raise KeyboardInterrupt

    trained, expected = network(), network()
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 4"):
        trained.train_lbfgs(*data, verbose=False, callbacks=stop)
    expected.train_lbfgs(*data, epochs=4, verbose=False)
    np.testing.assert_array_equal(trained.theta, expected.theta)


def test_an_infinite_initial_loss_raises_an_error(data):
    X, y = data
    trained = NeuralNetwork([2, 4, 1], activations=["relu", "identity"], dtype="float32", seed=0)
    with pytest.raises(
        FloatingPointError, match="the initial loss or its gradient is NaN or infinite: most likely the data should be"
    ):
        trained.train_lbfgs(X * 1e25, y)
    assert trained.epochs_trained == 0


def test_the_optimizer_state_is_kept_if_lbfgs_never_takes_a_step(data):
    trained = NeuralNetwork([2, 3, 1], activations=["identity", "identity"], optimizer="adam", seed=0)
    trained.train(*data, 0.01, epochs=2, verbose=False)
    before = [array.copy() for array in trained._snapshot.optimizer_state]
    with pytest.raises(FloatingPointError):
        trained.train_lbfgs(data[0] * 1e200, data[1], verbose=False)
    for array, expected in zip(trained._snapshot.optimizer_state, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_loss_that_becomes_nan_keeps_the_last_finite_weights(data):
    calls = []

    def value(xp, A, Y):
        calls.append(1)
        return xp.sum((A - Y) ** 2, axis=-2) * (1.0 if len(calls) < 20 else float("nan"))

    trained, thetas = network(loss=Loss(value, lambda xp, A, Y: 2.0 * (A - Y))), []
    with pytest.raises(FloatingPointError, match=r"in epoch \d+: most likely the data should be scaled; the weights"):
        trained.train_lbfgs(*data, verbose=False, callbacks=lambda n: thetas.append(n.theta))
    assert np.isfinite(trained.epoch_loss).all()
    np.testing.assert_array_equal(trained.theta, thetas[trained.epochs_trained - 1])


def test_an_exception_of_a_callback_passes_through_scipy(data):
    nothing = iter(())
    with pytest.raises(StopIteration):
        network().train_lbfgs(*data, verbose=False, callbacks=lambda n: next(nothing))


def test_train_lbfgs_resets_the_optimizer_state(data):
    trained, fresh = network(optimizer="adam"), network(optimizer="adam")
    trained.train(*data, 0.1, epochs=2, verbose=False)
    trained.train_lbfgs(*data, epochs=2, verbose=False)
    fresh.parameters = dict(trained.parameters)
    for each in (trained, fresh):
        each.train(*data, 0.1, epochs=1, verbose=False, batch_size=None)
    np.testing.assert_array_equal(trained.theta, fresh.theta)


REFUSED = [
    ({"ensemble": 2}, {}, ValueError, "train_lbfgs must be called on a network without ensemble"),
    ({"dropout": 0.1, "l1": 0.1}, {}, ValueError, "train_lbfgs must be called on a network without dropout, l1"),
    (
        {"optimizer": "adamw"},
        {},
        ValueError,
        r"without weight_decay; use weight_decay=0",
    ),
    ({"clip_norm": 1.0}, {}, ValueError, "train_lbfgs must be called on a network without clip_norm"),
    ({}, {"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
    ({}, {"gradient_tol": -1.0}, ValueError, "gradient_tol must be 0 or a positive"),
    ({}, {"validation_split": 1.0}, ValueError, "validation_split must be below 1, got 1.0"),
]


@pytest.mark.parametrize(("settings", "training", "error", "says"), REFUSED, ids=[case[3] for case in REFUSED])
def test_unsupported_settings_are_refused(settings, training, error, says, data):
    trained = network(**settings)
    with pytest.raises(error, match=says):
        trained.train_lbfgs(*data, **training)
    assert trained.epochs_trained == 0


def test_the_error_without_scipy_names_the_package_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r'L-BFGS needs SciPy: pip install "xpnet\[lbfgs\]"'):
        network().train_lbfgs(*data)
