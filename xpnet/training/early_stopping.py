"""Early stopping: when to stop, and which parameters were the best.

Prechelt, "Early stopping - but when?" (1998).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from reprlib import repr
from typing import Any, NamedTuple

from xpnet._checks import finite_array, same_shape
from xpnet._types import Array, State
from xpnet.backends import HOST, Backend
from xpnet.data.placement import bring, copied

host = HOST.xp
_SAVED = {"loss": "float64", "epoch": "int64", "waited": "int64", "waits": "bool"}


class Best(NamedTuple):
    """The loss and the epoch, from 0, of the parameters that early stopping restored: host arrays, () or (E,)."""

    loss: Array
    epoch: Array

    def member(self, i: int) -> Best | None:
        """Return the best loss and epoch of one network, or None if none of its epochs had a finite loss."""
        return Best(HOST.asarray(self.loss[i]), HOST.asarray(self.epoch[i])) if self.epoch[i] >= 0 else None

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the arrays by name."""
        return {name: host.asarray(array, copy=True) for name, array in self._asdict().items()}

    @classmethod
    def of(cls, values: Any, ensemble_shape: tuple[int, ...]) -> Best:
        """Validate and return what `state_dict` of another `Best` returned."""
        if not isinstance(values, Mapping) or not set(cls._fields) <= values.keys():
            msg = f"best must be None or a mapping with loss and epoch, got {values!r}"
            raise TypeError(msg)
        loss, epoch = (copied(f"best {name}", values[name], HOST, "float64") for name in cls._fields)
        for name, array in zip(cls._fields, (loss, epoch), strict=True):
            same_shape(f"best {name}", array, ensemble_shape)
        finite_array(host, "best epoch", epoch)
        if bool(host.any((epoch != host.floor(epoch)) | (epoch < -1.0))):
            msg = f"best epoch must be the number of an epoch, got {values['epoch']!r}"
            raise ValueError(msg)
        return cls(loss, HOST.asarray(epoch, "int64"))


def _chosen(backend: Backend, condition: Array, state: State, other: State) -> State:
    """Return `state` for the networks for which a condition on the host holds, and `other` for the others."""
    if bool(host.all(condition)):
        return state
    if not bool(host.any(condition)):
        return other
    with backend.on_device():
        return state.where(backend.xp, backend.asarray(condition), other)


@dataclass(frozen=True, eq=False)
class EarlyStopping:
    """The best state of every network so far, and the number of epochs without improvement since then.

    Each network of an ensemble has its own best epoch. All but the state are host arrays of shape () or (E,).

    Attributes
    ----------
    state : State
        The states of the networks after their best epochs.
    loss : array of float
        The lowest loss of each network; infinite before the first one.
    epoch : array of int
        The epoch, from 0, of the lowest loss; −1 before the first one.
    waited : array of int
        The number of epochs without improvement.
    waits : array of bool
        Which networks may still improve.
    """

    state: State
    loss: Array
    epoch: Array
    waited: Array
    waits: Array

    @classmethod
    def initial(cls, state: State, ensemble_shape: tuple[int, ...], best: Best | None = None) -> EarlyStopping:
        """Return the object before the first epoch; an earlier best is kept until an epoch is better."""
        if best is None:
            best = Best(host.full(ensemble_shape, host.inf), host.full(ensemble_shape, -1))
        zeros, ones = host.zeros(ensemble_shape, dtype=host.int64), host.ones(ensemble_shape, dtype=host.bool)
        return cls(state, best.loss, best.epoch, zeros, ones)

    def after_epoch(
        self, backend: Backend, epoch: int, loss: Array, state: State, *, patience: int, tol: float
    ) -> EarlyStopping:
        """Return the object after one more epoch, given the losses on the host and the states.

        A network improves if its loss is below its best loss by more than `tol`. A network without improvement for
        `patience` epochs is final.
        """
        improved = self.waits & (loss < self.loss - tol)
        best = _chosen(backend, improved, state, self.state)
        waited = host.where(improved, 0, self.waited + 1)
        return EarlyStopping(
            best,
            host.where(improved, loss, self.loss),
            host.where(improved, epoch, self.epoch),
            waited,
            self.waits & (waited < patience),
        )

    @property
    def continues(self) -> bool:
        """Whether any network may still improve."""
        return bool(host.any(self.waits))

    @property
    def best(self) -> Best | None:
        """The best losses and epochs, or None if no network has had a finite loss."""
        return Best(HOST.asarray(self.loss), HOST.asarray(self.epoch)) if bool(host.any(self.epoch >= 0)) else None

    def state_or(self, backend: Backend, other: State) -> State:
        """Return the best state, and `other` for networks that have had no finite loss."""
        return _chosen(backend, self.epoch >= 0, self.state, other)

    def moved(self, backend: Backend) -> EarlyStopping:
        """Return a copy with the state on another backend."""
        return replace(self, state=self.state.map(lambda array: bring("the best state", array, backend)))

    def state_dict(self, backend: Backend) -> dict[str, Any]:
        """Return copies of all attributes, on the host."""
        theta, optimizer_state = self.state.map(lambda array: host.asarray(backend.to_numpy(array), copy=True))
        kept = {name: host.asarray(getattr(self, name), copy=True) for name in _SAVED}
        return {**kept, "theta": theta, "optimizer_state": list(optimizer_state)}

    @classmethod
    def of(cls, values: Any, state: State, ensemble_shape: tuple[int, ...]) -> EarlyStopping:
        """Validate and return what `state_dict` of another object returned, with its state already on the backend."""
        missing = [name for name in _SAVED if not (isinstance(values, Mapping) and name in values)]
        if missing:
            msg = f"early_stopping must be a mapping with {', '.join(_SAVED)}, got no {', '.join(missing)}"
            raise ValueError(msg)
        arrays = [copied(f"early_stopping {name}", values[name], HOST, dtype) for name, dtype in _SAVED.items()]
        for (name, dtype), array in zip(_SAVED.items(), arrays, strict=True):
            same_shape(f"early_stopping {name}", array, ensemble_shape)
            given = copied(f"early_stopping {name}", values[name], HOST, "float64")
            if name != "loss" and not bool(host.all(given == array)):
                msg = f"early_stopping {name} must hold {dtype} values, got {repr(values[name])}"
                raise ValueError(msg)
        return cls(state, *arrays)
