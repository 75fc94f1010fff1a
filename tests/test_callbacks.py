"""Callbacks are called at the start, after every epoch and at the end, and may end it."""

from __future__ import annotations

import pytest

from xpnet import Callback, NeuralNetwork
from xpnet.training.history import History


@pytest.fixture
def data(rng):
    return rng.standard_normal((7, 2)), rng.random(7)


class Diary(Callback):
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
    diary = Diary()
    network = NeuralNetwork([2, 3, 1], seed=0)
    for _ in range(2):
        network.train(*data, 0.1, epochs=2, verbose=False, callbacks=diary)
    assert diary.entries == [
        *[("start", 0), ("epoch", 1), ("epoch", 2), ("end", 2)],
        *[("start", 2), ("epoch", 3), ("epoch", 4), ("end", 4)],
    ]


def test_several_are_called_in_turn_and_functions_after_every_epoch(data):
    seen = []
    callbacks = [lambda n: seen.append("one"), lambda n: seen.append("two")]
    NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=2, verbose=False, callbacks=callbacks)
    assert seen == ["one", "two", "one", "two"]


def test_a_callback_may_stop_the_training_after_the_epoch(data):
    first, second = Diary(stop_after=3), Diary()
    stopped, expected = (NeuralNetwork([2, 3, 1], seed=0) for _ in range(2))
    stopped.train(*data, 0.1, epochs=100, verbose=False, callbacks=[first, second])
    expected.train(*data, 0.1, epochs=3, verbose=False)
    assert first.entries == second.entries
    assert first.entries[-2:] == [("epoch", 3), ("end", 3)]
    assert (stopped.theta == expected.theta).all()
    stopped.train(*data, 0.1, epochs=2, verbose=False)
    assert stopped.epochs_trained == 5


def test_the_end_comes_even_if_training_fails(data):
    first, second = Diary(stop_after=2, raises=LookupError()), Diary()
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(LookupError):
        network.train(*data, 0.1, epochs=9, verbose=False, callbacks=[first, second])
    assert first.entries[-1] == second.entries[-1] == ("end", 2)
    network.train(*data, 0.1, epochs=1, verbose=False)


def test_every_end_is_called_even_if_one_fails(data):
    class Fails(Callback):
        def on_train_end(self, network):
            raise LookupError

    diary = Diary()
    with pytest.raises(LookupError):
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=1, verbose=False, callbacks=[Fails(), diary])
    assert diary.entries[-1] == ("end", 1)


def test_what_ended_the_training_is_not_lost_in_an_end_that_fails(data):
    class Fails(Callback):
        def on_train_end(self, network):
            raise OSError

    def interrupt(network):
        raise KeyboardInterrupt

    with pytest.raises(OSError) as raised:  # noqa: PT011 - it has no words
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, verbose=False, callbacks=[interrupt, Fails()])
    assert isinstance(raised.value.__context__, KeyboardInterrupt)


def test_what_has_not_begun_is_not_ended(data):
    class Refuses(Callback):
        def on_train_begin(self, network):
            raise LookupError

    diary, never = Diary(), Diary()
    with pytest.raises(LookupError):
        NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, verbose=False, callbacks=[diary, Refuses(), never])
    assert diary.entries == [("start", 0), ("end", 0)]
    assert never.entries == []


def test_ctrl_c_at_the_beginning_says_so_and_ends_what_has_begun(data):
    class Interrupts(Callback):
        def on_train_begin(self, network):
            raise KeyboardInterrupt

    diary, network = Diary(), NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch 0 \(of epochs 0 to 9\)"):
        network.train(*data, 0.1, verbose=False, callbacks=[diary, Interrupts()])
    assert diary.entries == [("start", 0), ("end", 0)]


def test_a_second_interruption_leaves_a_network_that_can_train(data, monkeypatch):
    """Ctrl-C while the training is being ended: what waits for the device then may be interrupted too."""

    def interrupt(network):
        monkeypatch.setattr(History, "since", again)
        raise KeyboardInterrupt

    def again(*_):
        raise KeyboardInterrupt

    diary, network = Diary(), NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(KeyboardInterrupt):
        network.train(*data, 0.1, epochs=9, verbose=False, patience=3, callbacks=[diary, interrupt])
    monkeypatch.undo()
    assert diary.entries[-1] == ("end", 1)
    network.train(*data, 0.1, epochs=1, verbose=False)
    assert network.epochs_trained == 2


def test_no_callbacks_may_be_none(data):
    NeuralNetwork([2, 3, 1], seed=0).train(*data, 0.1, epochs=1, verbose=False, callbacks=None, metrics=None)


def test_at_the_end_the_network_may_be_changed(data):
    class Again(Callback):
        def on_train_end(self, network):
            network.clear_weights()

    network = NeuralNetwork([2, 3, 1], seed=0)
    network.train(*data, 0.1, epochs=2, verbose=False, callbacks=Again())
    assert network.epochs_trained == 0


def test_stop_training_is_for_callbacks():
    with pytest.raises(
        RuntimeError, match=r"stop_training must be called by a callback .*: the network does not train"
    ):
        NeuralNetwork([2, 3, 1]).stop_training()


@pytest.mark.parametrize("callbacks", [5, [5], "checkpoint", Diary], ids=str)
def test_what_cannot_be_called_with_a_network_is_refused(callbacks, data):
    network = NeuralNetwork([2, 3, 1], seed=0)
    with pytest.raises(TypeError, match="callbacks must be functions or Callbacks, got "):
        network.train(*data, 0.1, epochs=1, verbose=False, callbacks=callbacks)
    assert network.epochs_trained == 0
