"""The history stores every measured value, epoch by epoch, and plots it."""

from __future__ import annotations

import copy
import pickle

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from xpnet import NeuralNetwork, get_backend, load_checkpoint, save_checkpoint
from xpnet.schedules import cosine
from xpnet.training.history import History


@pytest.fixture
def X(rng):
    return rng.standard_normal((12, 2))


@pytest.fixture
def y(rng):
    return rng.integers(0, 2, 12)


def network(**settings):
    return NeuralNetwork([2, 4, 1], loss="binary_crossentropy", seed=0, **settings)


def test_a_training_records_its_losses_and_metrics(backend, dtype, array, X, y):
    trained = network(device=backend, dtype=dtype)
    trained.train(array(X), array(y), 0.1, epochs=3, verbose=False, metrics="accuracy", validation_split=0.25)
    history = trained.history
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    for name in history:
        assert isinstance(history[name], np.ndarray)
        assert (history[name].shape, history[name].dtype) == ((3,), np.float64)
        assert np.isfinite(history[name]).all()
    assert history["loss"].tolist() == trained.epoch_loss
    assert history.epochs == trained.epochs_trained == 3


def test_recorded_metrics_are_those_of_the_weights_after_the_epoch(backend, dtype, array, X, y):
    trained, others = network(device=backend, dtype=dtype), (array(X[:5] + 1.0), array(y[:5]))
    for epoch in range(2):
        trained.train(
            array(X),
            array(y),
            0.1,
            epochs=1,
            verbose=False,
            metrics=["accuracy"],
            validation_data=(*others, array(np.arange(5.0))),
        )
        metrics = trained.evaluate(X, y, metrics=["accuracy"])
        assert trained.history["accuracy"][epoch] == pytest.approx(metrics["accuracy"])
        metrics = trained.evaluate(*others, sample_weight=array(np.arange(5.0)), metrics=["accuracy"])
        assert trained.history["validation_loss"][epoch] == pytest.approx(metrics["loss"], rel=1e-6)
        assert trained.history["validation_accuracy"][epoch] == pytest.approx(metrics["accuracy"])


def test_values_that_were_not_measured_in_an_epoch_are_nan(X, y):
    trained = network()
    trained.train(X, y, 0.1, epochs=2, verbose=False)
    trained.train(X, y, 0.1, epochs=1, verbose=False, metrics="accuracy")
    trained.train(X, y, 0.1, epochs=1, verbose=False)
    assert np.isnan(trained.history["accuracy"]).tolist() == [True, True, False, True]
    assert not np.isnan(trained.history["loss"]).any()
    assert trained.history.last().keys() == {"loss"}


def test_measuring_does_not_change_the_training(X, y):
    plain, measured = network(), network()
    plain.train(X, y, 0.1, epochs=3, verbose=False, shuffle=True)
    measured.train(X, y, 0.1, epochs=3, verbose=False, shuffle=True, metrics="accuracy", validation_data=(X, y))
    np.testing.assert_array_equal(plain.theta, measured.theta)


def test_the_history_of_an_ensemble_has_a_column_for_each_network(backend, dtype, array, X, y):
    trained = network(ensemble=3, device=backend, dtype=dtype)
    trained.train(array(X), array(y), 0.1, epochs=2, verbose=False, metrics="accuracy")
    assert trained.history["loss"].shape == trained.history["accuracy"].shape == (2, 3)
    assert trained.epoch_loss == trained.history["loss"].tolist()
    assert trained.member(1).epoch_loss == trained.history["loss"][:, 1].tolist()


def test_an_empty_history_has_an_empty_loss():
    assert dict(History()).keys() == {"loss"}
    assert History()["loss"].shape == (0,)
    assert History((4,))["loss"].shape == (0, 4)
    assert network().epoch_loss == []


def test_the_error_for_an_unknown_name_lists_the_recorded_ones(X, y):
    trained = network()
    trained.train(X, y, 0.1, epochs=1, verbose=False, metrics="accuracy")
    assert "accuracy" in trained.history
    assert "precision" not in trained.history
    with pytest.raises(KeyError, match="must be one of 'loss', 'accuracy', got 'precision'"):
        trained.history["precision"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))], ids=["copy", "pickle"])
def test_a_history_can_be_copied(duplicate, X, y):
    trained = network()
    trained.train(X, y, 0.1, epochs=3, verbose=False)
    other = duplicate(trained.history)
    trained.train(X, y, 0.1, epochs=1, verbose=False)
    assert other["loss"].tolist() == trained.epoch_loss[:3]


def test_a_history_can_be_rebuilt_from_its_arrays(X, y):
    trained = network(ensemble=2)
    trained.train(X, y, 0.1, epochs=3, verbose=False, metrics="accuracy")
    again = History.of(dict(trained.history), (2,))
    assert again.epochs == 3
    assert again.monitored == trained.history.monitored
    for name in trained.history:
        np.testing.assert_array_equal(again[name], trained.history[name])
    with pytest.raises(ValueError, match=r"the history's loss must have the shape \(3,\), got the shape \(3, 2\)"):
        History.of(dict(trained.history), ())
    with pytest.raises(ValueError, match=r"the history's accuracy must have the shape \(3,\), got the shape \(2,\)"):
        History.of({"loss": np.zeros(3), "accuracy": np.zeros(2)}, ())


def test_ctrl_c_while_the_history_waits_for_the_device_loses_nothing(X, y, monkeypatch):
    from xpnet import get_backend

    place = type(get_backend("cpu"))
    to_numpy, calls = place.to_numpy, []

    def interrupted_once(self, array):
        calls.extend([array] * (interrupted._run is not None))
        if len(calls) == 4:  # in the middle of the second read, between two names
            raise KeyboardInterrupt
        return to_numpy(self, array)

    interrupted, uninterrupted = network(), network()
    monkeypatch.setattr(place, "to_numpy", interrupted_once)
    training = {"metrics": "accuracy", "shuffle": True, "progress_bar": False}
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 4"):
        interrupted.train(X, y, 0.1, epochs=9, verbose_epoch=4, **training)
    monkeypatch.undo()
    uninterrupted.train(X, y, 0.1, epochs=4, verbose=False, shuffle=True, metrics="accuracy")
    np.testing.assert_array_equal(interrupted.theta, uninterrupted.theta)
    for name in uninterrupted.history:
        np.testing.assert_array_equal(interrupted.history[name], uninterrupted.history[name])


def test_ctrl_c_in_a_metric_keeps_weights_and_history_of_the_same_epoch(X, y):
    measured = []

    def metric(xp, A, Y, weight):
        measured.append(1)
        if len(measured) == 5:  # the first one is a dry run
            raise KeyboardInterrupt
        return xp.mean(A, axis=(-1, -2))

    interrupted, uninterrupted = network(), network()
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3"):
        interrupted.train(X, y, 0.1, epochs=9, verbose=False, metrics=[metric])
    uninterrupted.train(X, y, 0.1, epochs=3, verbose=False)
    np.testing.assert_array_equal(interrupted.theta, uninterrupted.theta)
    assert interrupted.epoch_loss == uninterrupted.epoch_loss


@pytest.mark.parametrize("ensemble", [None, 5])
def test_plot_draws_the_losses_and_metrics(ensemble, X, y, tmp_path):
    trained = network(ensemble=ensemble)
    trained.train(X, y, 0.1, epochs=3, verbose=False, metrics="accuracy", validation_split=0.25)
    figure = trained.history.plot(log=True)
    loss, accuracy = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["Loss", "Accuracy"]
    assert loss.get_yscale() == "log"
    assert accuracy.get_yscale() == "linear"
    expected = trained.history["validation_loss"]
    drawn = loss.lines[1].get_ydata()
    np.testing.assert_array_equal(drawn, expected if ensemble is None else np.median(expected, axis=1))
    figure.savefig(tmp_path / "history.png")
    mpl.pyplot.close(figure)


@pytest.mark.parametrize("ensemble", [None, 1, 3])
def test_the_history_of_an_untrained_network_can_be_plotted(ensemble, tmp_path):
    figure = network(ensemble=ensemble).history.plot(log=True)
    figure.savefig(tmp_path / "history.png")
    mpl.pyplot.close(figure)


def test_the_plot_of_an_ensemble_omits_diverged_networks(tmp_path):
    losses = np.array([[1.0, 3.0, 2.0], [1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    figure = History.of({"loss": losses}, (3,)).plot()
    assert figure.axes[0].lines[0].get_ydata()[0] == 2.0
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()[1])
    figure.savefig(tmp_path / "history.png")
    mpl.pyplot.close(figure)


def measured(**values):
    """Return what was measured in an epoch, or in several."""
    return {name: np.atleast_1d(value) for name, value in values.items()}


def test_adding_an_epoch_does_not_change_earlier_histories():
    cpu = get_backend("cpu")
    first = History().with_epochs(cpu, measured(loss=3.0))
    second = first.with_epochs(cpu, measured(loss=2.0, accuracy=0.5))
    other = first.with_epochs(cpu, measured(loss=7.0))
    third = second.with_epochs(cpu, measured(loss=1.0))
    assert [history["loss"].tolist() for history in (first, second, other, third)] == [[3], [3, 2], [3, 7], [3, 2, 1]]
    assert list(first) == list(other) == ["loss"]
    assert list(second) == list(third) == ["loss", "accuracy"]
    np.testing.assert_array_equal(third["accuracy"], [np.nan, 0.5, np.nan])
    assert third.until(1)["loss"].tolist() == [3]
    assert list(third.until(1)) == ["loss"]
    assert third.until(1).with_epochs(cpu, measured(loss=9.0))["loss"].tolist() == [3, 9]
    assert third["loss"].tolist() == [3, 2, 1]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))], ids=["copy", "pickle"])
def test_a_copy_keeps_the_first_and_last_epoch_of_each_value(duplicate):
    cpu = get_backend("cpu")
    history = History().with_epochs(cpu, measured(loss=3.0))
    history = history.with_epochs(cpu, measured(loss=2.0, validation_loss=1.0))
    history = duplicate(history.with_epochs(cpu, measured(loss=2.0, validation_loss=np.nan)))
    assert list(history.until(1)) == ["loss"]
    assert history.monitored == "validation_loss"
    assert history.with_epochs(cpu, measured(loss=0.0)).monitored == "loss"


def test_reading_the_last_value_costs_the_same_for_any_number_of_epochs():
    """The test counts copied numbers, not time."""
    cpu, history = get_backend("cpu"), History()
    for epoch in range(1000):
        history = history.with_epochs(cpu, measured(loss=float(epoch)))
        history["loss"]
        if epoch > 10:
            assert history["loss"].base is history.record.columns["loss"]
    assert history.record.columns["loss"].size <= 2048
    assert history["loss"][-1] == 999.0


@pytest.mark.parametrize(
    "kept",
    [
        lambda n: n.state_dict()["history"]["loss"],
        lambda n: copy.deepcopy(n).epoch_loss,
        lambda n: pickle.loads(pickle.dumps(n)).epoch_loss,
        lambda n: n.epoch_loss,
    ],
    ids=["state_dict", "copy", "pickle", "epoch_loss"],
)
def test_epochs_of_nan_are_never_returned(kept, X):
    returned = []
    linear = NeuralNetwork([2, 3, 1], activations=["identity", "identity"], seed=0)
    with pytest.raises(FloatingPointError):
        linear.train(
            X,
            X[:, 0],
            2.0,
            epochs=200,
            batch_size=None,
            verbose=False,
            callbacks=lambda n: returned.append(np.asarray(kept(n))),
        )
    assert len(returned) > linear.epochs_trained > 0
    assert all(np.isfinite(losses).all() for losses in returned)
    assert len(returned[-1]) == linear.epochs_trained


# ---- A cleared history


def trained_twice(clear, path=None, **settings):
    """Return a network that was trained twice, with its history cleared in between or not."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 2)), rng.random(12)
    network = NeuralNetwork([2, 4, 1], optimizer="adam", dropout=0.3, seed=0, **settings)
    options = {"verbose": False, "shuffle": True, "schedule": cosine(9), "metrics": "r2_score"}
    network.train(X, y, 0.1, epochs=4, **options)
    if clear:
        network.clear_history()
        assert list(network.history) == ["loss"]
        assert network.epoch_loss == []
    if path:
        save_checkpoint(network, path)
        network = load_checkpoint(path)
    network.train(X, y, 0.1, epochs=3, **options)
    return network


@pytest.mark.parametrize("ensemble", [None, 3])
@pytest.mark.parametrize("saved", [False, True])
def test_clearing_the_history_does_not_change_further_training(saved, ensemble, tmp_path):
    path = tmp_path / "network.safetensors" if saved else None
    uninterrupted, cleared = trained_twice(False, ensemble=ensemble), trained_twice(True, path, ensemble=ensemble)
    np.testing.assert_array_equal(cleared.theta, uninterrupted.theta)
    assert cleared.epochs_trained == uninterrupted.epochs_trained == 7
    assert cleared.history.first_epoch == 4
    for name in ("loss", "r2_score"):
        np.testing.assert_array_equal(cleared.history[name], uninterrupted.history[name][4:])
    for again in (copy.deepcopy(cleared), pickle.loads(pickle.dumps(cleared))):
        assert again.history.first_epoch == 4
        np.testing.assert_array_equal(again.history["loss"], cleared.history["loss"])


def test_the_best_epoch_counts_cleared_epochs_too(rng):
    X, y = rng.standard_normal((12, 2)), rng.random(12)
    network = NeuralNetwork([2, 4, 1], seed=0)
    network.train(X, y, 0.1, epochs=5, verbose=False)
    network.clear_history()
    network.train(X, y, 0.1, epochs=4, verbose=False, patience=10)
    assert network.best_epoch == 5 + int(np.argmin(network.history["loss"]))


def test_early_stopping_continues_after_the_history_was_cleared():
    X = np.linspace(-1, 1, 12)
    y, copies = (X > 0) * 1.0, []
    options = {"verbose": False, "batch_size": None, "validation_data": (X, 1 - y), "patience": 9}
    uninterrupted = NeuralNetwork([1, 1], seed=0)
    keep = {"callbacks": lambda n: copies.append(copy.deepcopy(n)) if n.epochs_trained == 3 else None}
    uninterrupted.train(X, y, 5.0, epochs=6, **keep, **options)
    (resumed,) = copies
    resumed.clear_history()
    resumed.train(X, y, 5.0, epochs=3, **options)
    assert resumed.best_epoch == uninterrupted.best_epoch == 0
    np.testing.assert_array_equal(resumed.theta, uninterrupted.theta)


def test_the_plot_of_a_cleared_history_begins_at_its_first_epoch(rng):
    figure = trained_twice(True).history.plot()
    assert figure.axes[0].lines[0].get_xdata().tolist() == [4, 5, 6]
    plt.close(figure)


def test_the_divergence_error_counts_cleared_epochs_too(rng):
    network = NeuralNetwork([2, 4, 1], activations=["relu", "identity"], seed=0)
    X, y = rng.standard_normal((12, 2)), rng.random(12)
    network.train(X, y, 0.01, epochs=3, verbose=False)
    network.clear_history()
    with pytest.raises(FloatingPointError, match=r"in epoch ([3-9]|\d\d+): "):
        network.train(X, y, 1e9, epochs=50, verbose=False)
    assert network.epochs_trained == 3 + len(network.epoch_loss)


def test_a_callback_may_not_clear_the_history(rng):
    with pytest.raises(RuntimeError, match="clear_history is refused while the network trains"):
        NeuralNetwork([1, 1], seed=0).train([0.0], [0.5], 0.1, verbose=False, callbacks=lambda n: n.clear_history())
