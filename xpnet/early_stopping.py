"""Early stopping: when to stop, and which weights were the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpnet._types import Array
from xpnet.backends import Backend, get_backend
from xpnet.backends.base import State
from xpnet.training import choose
from xpnet.transfer import bring
from xpnet.validation import finite_array, same_shape

_HOST = get_backend("cpu")
host = _HOST.xp  # figures for people are few, and live on the host


class Best:
    """The best state of every network so far, and for how long there has been no better one.

    Parameters
    ----------
    state : (array, tuple of arrays)
        Where the networks stand before their first epoch.
    lead : tuple of int
        () for one network, (E,) for an ensemble: each of its networks is judged alone.

    Attributes
    ----------
    figure : host array of shape `lead`
        The best figure of each.
    state : (array, tuple of arrays)
        Their states after the epochs that had it.
    """

    def __init__(self, state: State, lead: tuple[int, ...]) -> None:
        self.state = state
        self.figure = host.full(lead, host.inf)
        self._waited = host.zeros(lead, dtype=host.int64)
        self._waits = host.ones(lead, dtype=host.bool)

    def look(self, backend: Backend, figure: Array, state: State, *, patience: int, tol: float) -> bool:
        """Take in the figures after an epoch, on the host, and say whether any network is still waited for.

        A network's figure has improved where it is less than its best by more than `tol`; a network that has not
        improved for `patience` epochs is not looked at again.
        """
        improved = self._waits & (figure < self.figure - tol)
        self.figure = host.where(improved, figure, self.figure)
        self._waited = host.where(improved, 0, self._waited + 1)
        self._waits = self._waits & (self._waited < patience)
        if bool(host.any(improved)):
            with backend.on_device():
                self.state = choose(backend.xp, backend.asarray(improved), state, self.state)
        return self.waits

    @property
    def waits(self) -> bool:
        """Whether any network is still waited for."""
        return bool(host.any(self._waits))

    def state_dict(self, backend: Backend) -> dict[str, Any]:
        """Return all of it, on the host."""
        theta, memory = self.state
        with backend.on_device():
            return {
                "figure": _HOST.asarray(self.figure),
                "waited": _HOST.asarray(self._waited),
                "waits": _HOST.asarray(self._waits),
                "theta": backend.to_numpy(theta),
                "memory": [backend.to_numpy(array) for array in memory],
            }

    @classmethod
    def of(cls, values: Mapping[str, Any], backend: Backend, like: State, lead: tuple[int, ...]) -> Best:
        """Return what another's `state_dict` returned, for networks of a state `like` its own."""
        theta = bring("theta", values["theta"], backend)
        memory = tuple(bring("memory", array, backend) for array in values["memory"])
        for name, array, expected in zip(
            ["theta", *["memory"] * len(memory)], [theta, *memory], [like[0], *like[1]], strict=True
        ):
            same_shape(f"the best {name}", array, expected.shape)
            finite_array(backend.xp, f"the best {name}", array)
        best = cls((theta, memory), lead)
        best.figure = _HOST.asarray(values["figure"], "float64")
        best._waited = _HOST.asarray(values["waited"], "int64")
        best._waits = _HOST.asarray(values["waits"], "bool")
        for array in (best.figure, best._waited, best._waits):
            same_shape("what early stopping waits for", array, lead)
        return best
