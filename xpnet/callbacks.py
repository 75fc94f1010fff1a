"""What users hang into a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Callback:
    """What is called in the course of a training, with the network.

    In `start` and `epoch` it may look at the network, predict, copy it, save it, call its `stop_training`, or raise to
    stop at once, but not change it.
    """

    def start(self, network: Any) -> object:
        """Before the first epoch."""

    def epoch(self, network: Any) -> object:
        """After every epoch, with the network as it is then."""

    def end(self, network: Any) -> object:
        """When the training has ended, however it did; the network is as the training leaves it."""


class _EveryEpoch(Callback):
    """A function, called after every epoch."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def epoch(self, network: Any) -> object:
        return self._function(network)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return callbacks from one or several, of which functions are called after every epoch."""
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Sequence):
        callbacks = [callbacks]
    for callback in callbacks:
        if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
            msg = f"callbacks must be functions or Callbacks, got {callback!r}"
            raise TypeError(msg)
    return [callback if isinstance(callback, Callback) else _EveryEpoch(callback) for callback in callbacks]
