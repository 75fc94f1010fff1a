"""Callbacks: hooks that training calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from reprlib import repr
from typing import Any

from xpnet._checks import function

__all__ = [
    "Callback",
]


class Callback:
    """Base class of callbacks, whose hooks training calls with the network; the names of the hooks are those of Keras.

    A hook may read, copy and save the network, predict with it, call its `stop_training`, or raise an error to stop at
    once. It must not change the network.

    Examples
    --------
    >>> from xpnet import Callback, NeuralNetwork
    >>> class Counter(Callback):
    ...     def on_epoch_end(self, network):
    ...         print("epochs trained:", network.epochs_trained)
    >>> network = NeuralNetwork([1, 4, 1], seed=0)
    >>> network.train([0.0, 1.0], [0.2, 0.8], learning_rate=0.5, epochs=2, callbacks=Counter(), verbose=False)
    epochs trained: 1
    epochs trained: 2
    """

    def on_train_begin(self, network: Any) -> object:
        """Run before the first epoch."""

    def on_epoch_end(self, network: Any) -> object:
        """Run after every epoch, with the current network.

        After the last epoch this is the final network, which early stopping may have restored from the best epoch.
        """

    def on_train_end(self, network: Any) -> object:
        """Run when training has ended, also by an error, if `on_train_begin` ran; with the final network.

        Several callbacks are called in reverse order.
        """


class _EveryEpoch(Callback):
    """A function that is called after every epoch."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def on_epoch_end(self, network: Any) -> object:
        return self._function(network)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return a list of callbacks from one, several or None; functions are called after every epoch."""
    if callbacks is None:
        return []
    if isinstance(callbacks, (Callback, str)) or not isinstance(callbacks, Sequence):
        callbacks = [callbacks]
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
            msg = f"callbacks must be functions or Callbacks, got {repr(callback)}"
            raise TypeError(msg)
        if isinstance(callback, Callback):
            for hook in ("on_train_begin", "on_epoch_end", "on_train_end"):
                function(f"callbacks[{i}].{hook}", getattr(callback, hook), "(network)")
        else:
            function(f"callbacks[{i}]", callback, "(network)")
    return [callback if isinstance(callback, Callback) else _EveryEpoch(callback) for callback in callbacks]
