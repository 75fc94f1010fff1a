"""Early stopping: when to stop, and which weights were the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpnet._types import Array
from xpnet.backends import HOST, Backend
from xpnet.backends.base import State
from xpnet.training import choose
from xpnet.transfer import bring_state_like, copied
from xpnet.validation import same_shape

host = HOST.xp
_KEPT = ("theta", "memory", "loss", "epoch", "waited", "waits")


class BestSoFar:
    """The best state of every network so far, and for how long there has been no better one.

    Parameters
    ----------
    state : (array, tuple of arrays)
        Where the networks stand before their first epoch.
    lead : tuple of int
        () for one network, (E,) for an ensemble: each of its networks is judged alone.

    Attributes
    ----------
    loss : host array of shape `lead`
        The least loss of each; infinite before there was one.
    epoch : host array of int of shape `lead`
        In which epoch, counted from 0, each had it; −1 before there was one.
    state : (array, tuple of arrays)
        Their states after those epochs.
    """

    def __init__(self, state: State, lead: tuple[int, ...]) -> None:
        self.state = state
        self.loss = host.full(lead, host.inf)
        self.epoch = host.full(lead, -1)
        self._waited = host.zeros(lead, dtype=host.int64)
        self._waits = host.ones(lead, dtype=host.bool)

    def look(self, backend: Backend, epoch: int, loss: Array, state: State, *, patience: int, tol: float) -> bool:
        """Take in the losses of an epoch, on the host, and say whether any network is still waited for.

        A network has improved where its loss is below its best by more than `tol`; one that has not improved for
        `patience` epochs is not looked at again.
        """
        improved, best = self._waits & (loss < self.loss - tol), self.state
        if bool(host.any(improved)):
            with backend.on_device():
                best = choose(backend.xp, backend.asarray(improved), state, best)
        waited = host.where(improved, 0, self._waited + 1)
        losses, epochs = host.where(improved, loss, self.loss), host.where(improved, epoch, self.epoch)
        # All at once, and only now: Ctrl-C may come anywhere before.
        self.state, self.loss, self.epoch = best, losses, epochs
        self._waited, self._waits = waited, self._waits & (waited < patience)
        return self.waits

    @property
    def waits(self) -> bool:
        """Whether any network is still waited for."""
        return bool(host.any(self._waits))

    def state_or(self, backend: Backend, other: State) -> State:
        """Return the best state, and for networks that had none since no loss was finite the other one."""
        with backend.on_device():
            return choose(backend.xp, backend.asarray(self.epoch >= 0), self.state, other)

    def state_dict(self, backend: Backend) -> dict[str, Any]:
        """Return all of it, on the host."""
        theta, memory = self.state
        return {
            "loss": host.asarray(self.loss, copy=True),
            "epoch": host.asarray(self.epoch, copy=True),
            "waited": host.asarray(self._waited, copy=True),
            "waits": host.asarray(self._waits, copy=True),
            "theta": backend.to_numpy(theta),
            "memory": [backend.to_numpy(array) for array in memory],
        }

    @classmethod
    def of(cls, values: Mapping[str, Any], backend: Backend, like: State, lead: tuple[int, ...]) -> BestSoFar:
        """Return what another's `state_dict` returned, for networks of a state `like` its own."""
        missing = [name for name in _KEPT if not (isinstance(values, Mapping) and name in values)]
        if missing:
            msg = f"what early stopping waits for lacks {', '.join(missing)}"
            raise ValueError(msg)
        best = cls(bring_state_like(like, (values["theta"], values["memory"]), backend), lead)
        best.loss, best.epoch, best._waited, best._waits = (
            copied(name, values[name], HOST, dtype)
            for name, dtype in (("loss", "float64"), ("epoch", "int64"), ("waited", "int64"), ("waits", "bool"))
        )
        for array in (best.loss, best.epoch, best._waited, best._waits):
            same_shape("what early stopping waits for", array, lead)
        return best
