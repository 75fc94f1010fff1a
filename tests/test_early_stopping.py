"""Training stops when the loss no longer improves, and restores the best epoch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from xpnet import Callback, NeuralNetwork, get_backend
from xpnet._types import State
from xpnet.training.early_stopping import EarlyStopping


@pytest.fixture
def data(rng):
    X = rng.standard_normal((30, 2))
    return X, (X[:, 0] * X[:, 1] > 0).astype(float)


def network(**settings):
    return NeuralNetwork([2, 16, 1], activations=["tanh", "sigmoid"], initializer="normal", **{"seed": 0, **settings})


class Snapshots(Callback):
    def __init__(self):
        self.thetas = []

    def on_epoch_end(self, network):
        self.thetas.append(np.array(network.backend.to_numpy(network.theta)))


def expected_stop(losses, patience, tol):
    """Return the last epoch before the stop and the best epoch, from the definition."""
    best, since = np.inf, 0
    for epoch, loss in enumerate(losses):
        if loss < best - tol:
            best, since, at = loss, 0, epoch
        else:
            since += 1
        if since == patience:
            break
    return epoch, at


@pytest.mark.parametrize("tol", [0.0, 1e-3])
@pytest.mark.parametrize("validated", [True, False], ids=["validation", "training"])
def test_training_stops_after_patience_and_restores_the_best_epoch(validated, tol, backend, dtype, array, data):
    X, y = array(data[0]), array(data[1])
    settings = {"epochs": 60, "verbose": False, "batch_size": 5, "shuffle": True}
    settings |= {"validation_split": 0.3} if validated else {}
    uninterrupted, stopped = (network(device=backend, dtype=dtype, optimizer="adam") for _ in range(2))
    snapshots = Snapshots()
    uninterrupted.train(X, y, 0.3, **settings, callbacks=snapshots)
    stopped.train(X, y, 0.3, **settings, patience=5, tol=tol)
    name = "validation_loss" if validated else "loss"
    stop, best = expected_stop(uninterrupted.history[name], 5, tol)
    assert stop < 59
    assert stopped.epochs_trained == stop + 1
    np.testing.assert_array_equal(stopped.history[name], uninterrupted.history[name][: stop + 1])
    np.testing.assert_array_equal(backend.to_numpy(stopped.theta), snapshots.thetas[best])


def test_training_restores_the_best_epoch_even_if_it_does_not_stop_early(data):
    snapshots, trained = Snapshots(), network()
    trained.train(*data, 20.0, epochs=30, verbose=False, patience=100, validation_split=0.3, callbacks=snapshots)
    best = int(np.argmin(trained.history["validation_loss"]))
    assert best < 29
    np.testing.assert_array_equal(trained.theta, snapshots.thetas[best])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, LookupError])
def test_an_interrupted_training_restores_the_best_epoch(stop, data):
    def interrupt(network):
        if network.epochs_trained == 20:
            raise stop

    snapshots, trained = Snapshots(), network()
    with pytest.raises(stop) as raised:
        trained.train(
            *data, 2.0, epochs=30, verbose=False, patience=100, validation_split=0.3, callbacks=[snapshots, interrupt]
        )
    if stop is KeyboardInterrupt:
        assert "the weights are those of the best epoch before" in str(raised.value)
    assert trained.epochs_trained == 20
    np.testing.assert_array_equal(trained.theta, snapshots.thetas[np.argmin(trained.history["validation_loss"])])


def test_training_restores_the_optimizer_state_too(data):
    """Further training equals that of a network that was trained only up to the best epoch."""
    settings = {"verbose": False, "batch_size": None, "validation_split": 0.3}
    stopped, plain = network(optimizer="adam"), network(optimizer="adam")
    stopped.train(*data, 0.1, epochs=500, patience=3, **settings)
    best = int(np.argmin(stopped.history["validation_loss"])) + 1
    plain.train(*data, 0.1, epochs=best, **settings)
    for each in (stopped, plain):
        each.train(*data, 0.1, epochs=3, **settings)
    np.testing.assert_array_equal(stopped.theta, plain.theta)


def test_the_next_training_counts_its_patience_from_zero(data):
    trained = network()
    trained.train(*data, 2.0, epochs=100, verbose=False, patience=2, validation_split=0.3)
    before = trained.epochs_trained
    trained.train(*data, 0.1, epochs=2, verbose=False, patience=2, validation_split=0.3)
    assert trained.epochs_trained == before + 2


def test_every_network_of_an_ensemble_stops_as_if_trained_individually(backend, dtype, array, data):
    X, y = array(data[0]), array(data[1])
    settings = {"epochs": 60, "verbose": False, "batch_size": None, "validation_split": 0.3, "patience": 3}
    rates = [0.5, 8.0, 30.0]
    ensemble = network(ensemble=3, device=backend, dtype=dtype)
    ensemble.train(X, y, rates, **settings)
    lengths = []
    for i, rate in enumerate(rates):
        individual = network(seed=i, device=backend, dtype=dtype)
        individual.train(X, y, rate, **settings)
        tolerance = {"float64": 1e-10, "float32": 1e-4}[dtype]
        np.testing.assert_allclose(
            backend.to_numpy(ensemble.member(i).theta),
            backend.to_numpy(individual.theta),
            rtol=tolerance,
            atol=tolerance,
        )
        lengths.append(individual.epochs_trained)
    assert len(set(lengths)) > 1
    assert ensemble.epochs_trained == max(lengths)


def test_the_best_member_has_the_lowest_loss_of_the_restored_epochs(data):
    ensemble = network(ensemble=4)
    ensemble.train(*data, [0.5, 2.0, 8.0, 30.0], epochs=100, verbose=False, patience=5, validation_split=0.3)
    least = np.nanmin(ensemble.history["validation_loss"], axis=0)
    best = ensemble.best_member()
    assert best.seed == int(np.argmin(least))
    np.testing.assert_array_equal(best.theta, ensemble.theta[np.argmin(least)])


def test_a_diverging_training_restores_its_best_epoch(data):
    trained, snapshots = NeuralNetwork([2, 4, 1], activations=["identity", "identity"], seed=1), Snapshots()
    with pytest.raises(FloatingPointError, match="the weights are those of the best epoch before"):
        trained.train(*data, 2.0, epochs=200, verbose=False, patience=150, batch_size=None, callbacks=snapshots)
    assert np.isfinite(trained.theta).all()
    best = int(np.argmin(trained.epoch_loss))
    np.testing.assert_array_equal(trained.theta, snapshots.thetas[best])


def test_a_copy_from_the_middle_of_a_training_continues_identically(data):
    """The same holds for a checkpoint: see test_checkpoints."""
    copies = []
    settings = {"verbose": False, "validation_split": 0.3, "patience": 6, "shuffle": True, "batch_size": 5}
    trained = network()
    trained.train(*data, 2.0, epochs=50, **settings, callbacks=lambda n: copies.append(copy.deepcopy(n)))
    middle = copies[int(np.argmin(trained.history["validation_loss"])) + 3]
    middle.train(*data, 2.0, epochs=50 - middle.epochs_trained, **settings)
    np.testing.assert_array_equal(middle.theta, trained.theta)
    assert middle.epoch_loss == trained.epoch_loss


def test_a_copy_from_the_last_epoch_equals_the_network_after_training(data):
    """With or without an early stop: a kill after the last callback then loses nothing."""
    for patience in (3, 50):
        copies, trained = [], network()
        settings = {"verbose": False, "validation_split": 0.3, "patience": patience}
        trained.train(*data, 20.0, epochs=20, **settings, callbacks=lambda n: copies.append(copy.deepcopy(n)))  # noqa: B023
        assert (trained.epochs_trained < 20) == (patience == 3)
        assert (copies[-1].best_epoch, copies[-1].best_loss) == (trained.best_epoch, trained.best_loss)
        assert trained.best_epoch < trained.epochs_trained - 1
        np.testing.assert_array_equal(copies[-1].theta, trained.theta)


@pytest.fixture
def other(rng):
    X = rng.standard_normal((20, 2))
    return X, (X[:, 0] + X[:, 1] > 0).astype(float)


def training_in(state, data, held_out):
    """Return a network in a state of its training, its settings, and the network of the uninterrupted training."""
    settings = {"verbose": False, "validation_data": held_out, "patience": 4 if state == "stopped" else 100}
    middle, trained = [], network(optimizer="adam")

    def keep(network):
        if network.epochs_trained == 8:
            middle.append(copy.deepcopy(network))

    trained.train(*data, 0.3, epochs=15 if state != "stopped" else 100, **settings, callbacks=keep)
    return (middle[0] if state == "killed" else trained), settings, trained


@pytest.mark.parametrize("state", ["killed", "stopped", "finished"])
def test_training_on_the_same_samples_continues_from_the_best_epoch(state, data, other):
    left, settings, uninterrupted = training_in(state, data, other)
    if state == "killed":
        left.train(*data, 0.3, epochs=15 - 8, **settings)
        np.testing.assert_array_equal(left.theta, uninterrupted.theta)
        assert (left.best_epoch, left.best_loss) == (uninterrupted.best_epoch, uninterrupted.best_loss)
    before, epochs = left.best_loss, left.epochs_trained
    theta, best_epoch = left.theta.copy(), left.best_epoch
    left.train(*data, 5.0, epochs=10, **settings)  # too high a learning rate to improve
    assert left.epochs_trained == epochs + min(10, settings["patience"])
    assert (left.best_epoch, left.best_loss) == (best_epoch, pytest.approx(before, rel=1e-12))
    np.testing.assert_array_equal(left.theta, theta)
    assert left.evaluate(*other)["loss"] == pytest.approx(left.best_loss, rel=1e-12)


@pytest.mark.parametrize("state", ["killed", "stopped", "finished"])
def test_training_on_other_samples_takes_the_present_weights_as_the_best(state, data, other):
    left, settings, _ = training_in(state, data, other)
    another = (other[0] + 0.3, 1.0 - other[1])
    before = left.evaluate(*another)["loss"]
    left.train(*data, 5.0, epochs=10, **{**settings, "validation_data": another})
    assert left.best_loss == pytest.approx(left.evaluate(*another)["loss"], rel=1e-12)
    assert left.best_loss <= before
    assert left.best_loss == pytest.approx(min(before, left.history["validation_loss"][-10:].min()), rel=1e-12)


def test_training_without_validation_continues_from_the_best_epoch_too(data):
    kept, uninterrupted = [], network(optimizer="adam")
    settings = {"verbose": False, "patience": 50}
    uninterrupted.train(*data, 0.5, epochs=20, **settings, callbacks=lambda n: kept.append(copy.deepcopy(n)))
    kept[9].train(*data, 0.5, epochs=10, **settings)
    np.testing.assert_array_equal(kept[9].theta, uninterrupted.theta)
    assert kept[9].best_epoch == uninterrupted.best_epoch


def test_each_network_of_an_ensemble_continues_from_its_best_epoch(data, other):
    ensemble = network(ensemble=3)
    settings = {"verbose": False, "validation_data": other, "patience": 5}
    ensemble.train(*data, [0.1, 2.0, 8.0], epochs=40, **settings)
    before = ensemble.best_loss
    ensemble.train(*data, [0.1, 2.0, 8.0], epochs=40, **settings)
    assert (ensemble.best_loss <= before * (1 + 1e-12)).all()
    np.testing.assert_allclose(ensemble.evaluate(*other)["loss"], ensemble.best_loss, rtol=1e-12)


def test_training_keeps_the_last_weights_if_no_loss_is_finite(data):
    trained, plain = (NeuralNetwork([2, 3, 1], activations=["relu", "identity"], dtype="float32", seed=0) for _ in "ab")
    far = (data[0] * 1e30, data[1])
    trained.train(*data, 0.1, epochs=9, verbose=False, patience=3, validation_data=far)
    plain.train(*data, 0.1, epochs=3, verbose=False)
    assert trained.epochs_trained == 3
    np.testing.assert_array_equal(trained.theta, plain.theta)


@pytest.mark.parametrize("assign", ["all", "one", "update"])
def test_changing_the_weights_clears_the_best_epoch(assign, data):
    trained = network()
    trained.train(*data, 0.5, epochs=5, verbose=False, patience=2)
    assert trained.best_loss == trained.epoch_loss[trained.best_epoch]
    if assign == "all":
        trained.parameters = dict(trained.parameters)
    elif assign == "one":
        trained.parameters["W1"] = np.zeros((16, 2))
    else:
        AL = trained.deep_forward(data[0].T)
        trained.update_parameters(trained.backward_pass(data[1], AL), 0.1)
    assert trained.best_loss is trained.best_epoch is None


def test_a_copy_from_the_middle_never_restores_weights_from_before_an_assignment(data):
    copies = []
    trained = network()
    trained.train(*data, 0.5, epochs=5, verbose=False, patience=5, callbacks=lambda n: copies.append(copy.deepcopy(n)))
    middle = copies[2]
    middle.parameters = {name: np.full(value.shape, 50.0) for name, value in middle.parameters.items()}
    middle.train(*data, 1e-3, epochs=2, verbose=False, patience=5)
    assert middle.best_epoch >= 3
    assert np.abs(middle.theta).max() > 40.0


def test_ctrl_c_while_reading_the_loss_keeps_the_epoch_before(data, monkeypatch):
    place = type(get_backend("cpu"))
    to_numpy, calls = place.to_numpy, []

    def interrupted_once(self, array):
        calls.extend([array] * (trained._run is not None))
        if len(calls) == 4:  # the loss of the fourth epoch
            raise KeyboardInterrupt
        return to_numpy(self, array)

    trained, uninterrupted = network(), network()
    monkeypatch.setattr(place, "to_numpy", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        trained.train(*data, 0.5, epochs=9, verbose=False, patience=5)
    monkeypatch.undo()
    uninterrupted.train(*data, 0.5, epochs=3, verbose=False)
    assert trained.epoch_loss == uninterrupted.epoch_loss
    assert trained.best_epoch == int(np.argmin(trained.epoch_loss)) == 2
    np.testing.assert_array_equal(trained.theta, uninterrupted.theta)


def test_a_network_of_an_ensemble_without_a_finite_loss_has_no_best_epoch(data, capsys):
    far = np.stack([data[0], np.full(data[0].shape, 1e300)])
    linear = NeuralNetwork([2, 3, 1], activations=["identity", "identity"], ensemble=2, seed=0)
    linear.train(*data, 0.01, epochs=2, verbose_epoch=9, patience=2, validation_data=(far, data[1]))
    assert "restored the best epoch of each network, from 1 to 1" in capsys.readouterr().out
    assert linear.best_epoch.tolist() == [1, -1]
    assert linear.member(0).best_epoch == 1
    assert linear.member(1).best_loss is linear.member(1).best_epoch is None


def test_nan_is_no_improvement():
    backend = get_backend("cpu")
    best = EarlyStopping.initial(State(np.zeros((2, 3)), ()), (2,))
    for epoch, loss in enumerate(([1.0, np.nan], [np.nan, np.nan], [0.5, 2.0], [np.inf, 1.0])):
        best = best.after_epoch(backend, epoch, np.array(loss), State(np.full((2, 3), epoch), ()), patience=2, tol=0.0)
    assert best.continues
    assert best.loss.tolist() == [0.5, np.inf]  # the second had used up its patience
    assert best.epoch.tolist() == [2, -1]
    assert best.state.theta.tolist() == [[2.0] * 3, [0.0] * 3]


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"patience": 0}, ValueError, "patience must be a positive integer, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be a positive integer, got 1.5"),
        ({"tol": -1.0}, ValueError, "tol must be 0 or a positive number, finite"),
        ({"tol": "small"}, TypeError, "tol must be 0 or a positive number, got 'small'"),
    ],
)
def test_invalid_settings_are_refused(settings, error, says, data):
    trained = network()
    with pytest.raises(error, match=says):
        trained.train(*data, 0.1, epochs=1, **settings)
    assert trained.epochs_trained == 0
