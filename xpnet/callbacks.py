"""Callbacks: hooks into a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from reprlib import repr
from typing import Any

from xpnet._checks import function

__all__ = [
    "Callback",
]


class Callback:
    """What is called in the course of a training, with the network; the names are Keras's.

    At the beginning and after an epoch it may look at the network, predict, copy it, save it, call its `stop_training`,
    or raise to stop at once, but not change it.
    """

    def on_train_begin(self, network: Any) -> object:
        """Before the first epoch."""

    def on_epoch_end(self, network: Any) -> object:
        """After every epoch, with the network as it is then, and after the last one as the training leaves it."""

    def on_train_end(self, network: Any) -> object:
        """When a training that has begun has ended, however it did; the network is as the training leaves it.

        Of several callbacks the last one is called first.
        """


class _EveryEpoch(Callback):
    """A function, called after every epoch."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def on_epoch_end(self, network: Any) -> object:
        return self._function(network)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return callbacks from one, several or None, of which functions are called after every epoch."""
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
