"""Callbacks are called at the start, after every epoch and at the end of a training, and may stop it."""

from __future__ import annotations

import pytest

from xpnet import Callback, NeuralNetwork
from xpnet.training.history import History


@pytest.fixture
def data(rng):
    return rng.standard_normal((7, 2)), rng.random(7)


class CallLog(Callback):
    def __init__(self, *, stop_after=None, raises=None):
        self.entries, self.stop_after, self.raises = [], stop_after, raises

    def on_train_begin(self, network):
        self.entries.append(("start", network.epochs_trained))

    def on_epoch_end(self, network):
        self.entries.append(("epoch", network.epochs_trained))
        if network.epochs_trained == self.stop_after:
            if self.raises:
                raise self.raises
            network.stop_training()

    def on_train_end(self, network):
        self.entries.append(("end", network.epochs_trained))
        network.evaluate([[0.0, 0.0]], [0.5])


def test_a_callback_is_called_at_the_start_after_every_epoch_and_at_the_end(data):
    log = CallLog()
    network = NeuralNetwork([2, 3, 1], seed=0)
    for _ in range(2):
        network.train(*data, 0.1, epochs=2, verbose=False, callbacks=log)
    assert log.entries == [
        *[("start", 0), ("epoch", 1), ("epoch", 2), ("end", 2)],
        *[("start", 2), ("epoch", 3), ("epoch", 4), ("end", 4)],
    ]


def test_several_callbacks_are_called_in_order_and_functions_after_every_epoch(data):
    seen = []
    callbacks = [lambda n: seen.append("one"), lambda n: seen.append("two")]
    NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=2, verbose=False, callbacks=callbacks)
    assert seen == ["one", "two", "one", "two"]


def test_a_callback_may_stop_the_training_after_the_epoch(data):
    first, second = CallLog(stop_after=3), CallLog()
    stopped, expected = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    stopped.train(*data, 0.1, epochs=100, verbose=False, callbacks=[first, second])
    expected.train(*data, 0.1, epochs=3, verbose=False)
    assert first.entries == second.entries
    assert first.entries[-2:] == [("epoch", 3), ("end", 3)]
    assert (stopped.theta == expected.theta).all()
    stopped.train(*data, 0.1, epochs=2, verbose=False)
    assert stopped.epochs_trained == 5


def test_on_train_end_is_called_even_if_training_fails(data):
    first, second = CallLog(stop_after=2, raises=LookupError()), CallLog()
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(LookupError):
        network.train(*data, 0.1, epochs=9, verbose=False, callbacks=[first, second])
    assert first.entries[-1] == second.entries[-1] == ("end", 2)
    network.train(*data, 0.1, epochs=1, verbose=False)


def test_every_on_train_end_is_called_even_if_one_fails(data):
    class Fails(Callback):
        def on_train_end(self, network):
            raise LookupError

    log = CallLog()
    with pytest.raises(LookupError):
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=1, verbose=False, callbacks=[Fails(), log])
    assert log.entries[-1] == ("end", 1)


def test_a_failing_on_train_end_keeps_the_error_that_ended_the_training(data):
    class Fails(Callback):
        def on_train_end(self, network):
            raise OSError

    def interrupt(network):
        raise KeyboardInterrupt

    with pytest.raises(OSError) as raised:  # noqa: PT011 - it has no message
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, verbose=False, callbacks=[interrupt, Fails()])
    assert isinstance(raised.value.__context__, KeyboardInterrupt)


def test_on_train_end_is_not_called_if_on_train_begin_was_not(data):
    class Refuses(Callback):
        def on_train_begin(self, network):
            raise LookupError

    log, never = CallLog(), CallLog()
    with pytest.raises(LookupError):
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, verbose=False, callbacks=[log, Refuses(), never])
    assert log.entries == [("start", 0), ("end", 0)]
    assert never.entries == []


def test_ctrl_c_in_on_train_begin_names_the_epoch_and_calls_on_train_end(data):
    class Interrupts(Callback):
        def on_train_begin(self, network):
            raise KeyboardInterrupt

    log, network = CallLog(), NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch 0 \(of epochs 0 to 9\)"):
        network.train(*data, 0.1, verbose=False, callbacks=[log, Interrupts()])
    assert log.entries == [("start", 0), ("end", 0)]


def test_a_second_ctrl_c_leaves_a_network_that_can_train(data, monkeypatch):
    """The second Ctrl-C comes while the training ends, which waits for the device."""

    def interrupt(network):
        monkeypatch.setattr(History, "since", again)
        raise KeyboardInterrupt

    def again(*_):
        raise KeyboardInterrupt

    log, network = CallLog(), NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(KeyboardInterrupt):
        network.train(*data, 0.1, epochs=9, verbose=False, patience=3, callbacks=[log, interrupt])
    monkeypatch.undo()
    assert log.entries[-1] == ("end", 1)
    network.train(*data, 0.1, epochs=1, verbose=False)
    assert network.epochs_trained == 2


def test_callbacks_and_metrics_may_be_none(data):
    NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=1, verbose=False, callbacks=None, metrics=None)


def test_on_train_end_may_change_the_network(data):
    class Clears(Callback):
        def on_train_end(self, network):
            network.clear_weights()

    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(*data, 0.1, epochs=2, verbose=False, callbacks=Clears())
    assert network.epochs_trained == 0


def test_stop_training_is_refused_outside_a_training():
    with pytest.raises(
        RuntimeError, match=r"stop_training must be called by a callback .*: the network does not train"
    ):
        NeuralNetwork([2, 3, 1]).stop_training()


@pytest.mark.parametrize("callbacks", [5, [5], "checkpoint", CallLog], ids=str)
def test_invalid_callbacks_are_refused(callbacks, data):
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(TypeError, match="callbacks must be functions or Callbacks, got "):
        network.train(*data, 0.1, epochs=1, verbose=False, callbacks=callbacks)
    assert network.epochs_trained == 0
