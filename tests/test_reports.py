"""Reports of a training: printed lines, and a progress bar on a terminal."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import NeuralNetwork


@pytest.fixture
def data(rng):
    return rng.standard_normal((10, 2)), rng.integers(0, 2, 10)


@pytest.fixture
def network():
    return NeuralNetwork([2, 3, 1], loss="binary_crossentropy", seed=0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def use_terminal(monkeypatch):
    """Return a function that makes standard error a terminal, with a progress bar that is shown at once."""

    def use_terminal():
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("xpnet.training.reports._BAR_SECONDS", 0.0)
        return terminal

    return use_terminal


def test_a_line_shows_all_losses_and_metrics(network, data, capsys):
    network.train(*data, 0.1, epochs=3, verbose_epoch=2, metrics="accuracy", validation_split=0.2)
    history, lines = network.history, capsys.readouterr().out.splitlines()
    assert lines == [
        f"Epoch {epoch} Loss : {history['loss'][epoch]:.6g}, Accuracy : {history['accuracy'][epoch]:.6g}, "
        f"Validation loss : {history['validation_loss'][epoch]:.6g}, "
        f"Validation accuracy : {history['validation_accuracy'][epoch]:.6g}"
        for epoch in (0, 2)
    ]


def test_the_line_of_an_ensemble_shows_the_median_and_the_range(data, capsys):
    ensemble = NeuralNetwork([2, 3, 1], ensemble=3, seed=0)
    ensemble.train(*data, [0.1, 1.0, 3.0], epochs=1)
    low, middle, high = sorted(ensemble.epoch_loss[0])
    assert capsys.readouterr().out == f"Epoch 0 Loss : {middle:.4g} (median, from {low:.4g} to {high:.4g})\n"


def test_training_shows_no_bar_without_a_terminal(network, data, capsys):
    network.train(*data, 0.1, epochs=3)
    assert capsys.readouterr().err == ""


def test_training_on_a_terminal_shows_a_bar_with_both_losses(network, data, use_terminal, capsys):
    terminal = use_terminal()
    network.train(*data, 0.1, epochs=3, verbose_epoch=1, validation_split=0.2)
    shown = terminal.getvalue()
    assert "/3 [" in shown
    assert "epoch" in shown
    assert f"loss {network.epoch_loss[-1]:.4g}, validation loss " in shown
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("options", [{"verbose": False}, {"progress_bar": False}], ids=["silent", "without bar"])
def test_the_bar_can_be_turned_off(options, network, data, use_terminal):
    terminal = use_terminal()
    network.train(*data, 0.1, epochs=3, **options)
    assert terminal.getvalue() == ""


def test_the_bar_can_be_turned_on_without_a_terminal(network, data, capsys, monkeypatch):
    monkeypatch.setattr("xpnet.training.reports._BAR_SECONDS", 0.0)
    network.train(*data, 0.1, epochs=3, verbose=False, progress_bar=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "/3 [" in printed.err


def test_the_bar_is_removed_when_training_fails(network, data, use_terminal):
    terminal = use_terminal()

    def stop(network):
        raise LookupError

    with pytest.raises(LookupError):
        network.train(*data, 0.1, epochs=3, callbacks=stop)
    assert terminal.getvalue().endswith("\r")


def test_a_missing_tqdm_is_an_error_only_if_the_bar_is_turned_on(network, data, use_terminal, monkeypatch):
    terminal = use_terminal()
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    network.train(*data, 0.1, epochs=1)
    assert terminal.getvalue() == ""
    with pytest.raises(ImportError, match=r'a progress bar needs tqdm: pip install "xpnet\[progress\]"'):
        network.train(*data, 0.1, epochs=1, progress_bar=True)
    assert network.epochs_trained == 1


def test_losses_are_read_only_when_they_are_needed(data, monkeypatch):
    """Reading waits for the device, so it happens at reports and at the end; early stopping reads every epoch."""
    from xpnet.training.history import _Record

    reads = []
    fetch = _Record._fetch
    monkeypatch.setattr(_Record, "_fetch", lambda self: (reads.append(len(self.unread)), fetch(self)))
    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(*data, 0.1, epochs=10, verbose_epoch=5, progress_bar=False, validation_split=0.2)
    assert [read for read in reads if read] == [1, 5, 4]
    reads.clear()
    network.train(*data, 0.1, epochs=4, verbose=False, patience=9)
    assert [read for read in reads if read] == [1, 1, 1, 1]
    assert np.isfinite(network.epoch_loss).all()


def test_a_training_that_stops_early_reports_the_epoch_that_it_restores(network, data, capsys):
    network.train(*data, 30.0, epochs=50, verbose_epoch=100, validation_split=0.2, patience=2)
    last = capsys.readouterr().out.splitlines()[-1]
    best, loss = network.best_epoch, network.best_loss
    assert network.history["validation_loss"][best] == loss == network.history["validation_loss"].min()
    assert last == f"Ended after epoch {network.epochs_trained - 1}: restored epoch {best}, validation loss {loss:.6g}"
    ensemble = NeuralNetwork([2, 3, 1], ensemble=3, seed=0)
    ensemble.train(*data, [0.1, 1.0, 100.0], epochs=9, verbose_epoch=100, validation_split=0.2, patience=2)
    epochs = ensemble.best_epoch
    assert epochs.tolist() == np.argmin(ensemble.history["validation_loss"], axis=0).tolist()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f"restored the best epoch of each network, from {min(epochs)} to {max(epochs)}")
    network.train(*data, 0.1, epochs=1, verbose=False)
    assert network.best_epoch is network.best_loss is None


@pytest.mark.parametrize("stream", [None, object()], ids=["none", "anything"])
def test_a_program_without_a_console_trains_too(stream, network, data, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", None)
    network.train(*data, 0.1, epochs=2, verbose_epoch=1)
    assert network.epochs_trained == 2


def test_ctrl_c_in_the_lock_of_the_bar_raises_keyboard_interrupt(data, monkeypatch):
    """tqdm then releases a lock that it does not hold, and that error hides the KeyboardInterrupt."""

    class Bar:
        def __init__(self, **_):
            self.updates = 0

        def update(self, epochs):
            self.updates += 1
            if self.updates == 3:
                try:
                    raise KeyboardInterrupt
                finally:
                    msg = "cannot release un-acquired lock"
                    raise RuntimeError(msg)

        def set_postfix_str(self, *_, **__): ...

        def close(self): ...

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(KeyboardInterrupt, match="training was interrupted in epoch 3"):
        network.train(*data, 0.1, epochs=9, verbose=False, progress_bar=True)
    assert network.epochs_trained == 3
    network.train(*data, 0.1, epochs=1, verbose=False)


@pytest.mark.parametrize(("epochs", "reported"), [
    (1, [0]), (3, [0, 1, 2]), (10, [*range(10)]), (11, [0, 2, 4, 6, 8, 10]), (1000, [*range(0, 1000, 100), 999]),
])  # fmt: skip
def test_training_reports_about_ten_epochs_and_the_last_one(epochs, reported, network, data, capsys):
    network.train(*data, 0.1, epochs=epochs, batch_size=None)
    assert epochs_of(capsys) == reported


def epochs_of(capsys):
    return [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()]


def test_a_second_training_reports_its_own_first_epoch(network, data, capsys):
    network.train(*data, 0.1, epochs=7, verbose=False)
    network.train(*data, 0.1, epochs=20)
    assert epochs_of(capsys) == [*range(7, 27, 2), 26]
    network.train(*data, 0.1, epochs=20, verbose_epoch=10)
    assert epochs_of(capsys) == [30, 40, 46]


def test_a_training_that_is_stopped_reports_its_last_epoch(network, data, capsys):
    network.train(*data, 0.1, epochs=100, callbacks=lambda n: n.stop_training() if n.epochs_trained == 13 else None)
    assert epochs_of(capsys) == [0, 10, 12]


def test_a_loss_without_metrics_is_reported_in_full_as_in_the_document(network, data, capsys):
    network.train(*data, 0.1, epochs=1)
    assert capsys.readouterr().out == f"Epoch 0 Loss : {network.epoch_loss[0]}\n"


def test_a_notebook_shows_a_bar_too(network, data, monkeypatch, capsys):
    class ZMQInteractiveShell:
        def __init__(self):
            self.config = {"IPKernelApp": {}}

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    monkeypatch.setattr("xpnet.training.reports._BAR_SECONDS", 0.0)
    network.train(*data, 0.1, epochs=3)
    assert "3/3" in capsys.readouterr().err
