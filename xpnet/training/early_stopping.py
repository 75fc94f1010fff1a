"""Early stopping: when to stop, and which weights were the best."""

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
    """The loss and the epoch, from 0, of the weights that a training went back to: host arrays of shape () or (E,)."""

    loss: Array
    epoch: Array

    def member(self, i: int) -> Best | None:
        """Return that of one network of an ensemble, or None if none of its epochs had a finite loss."""
        return Best(HOST.asarray(self.loss[i]), HOST.asarray(self.epoch[i])) if self.epoch[i] >= 0 else None

    def state_dict(self) -> dict[str, Array]:
        """Return copies."""
        return {name: host.asarray(array, copy=True) for name, array in self._asdict().items()}

    @classmethod
    def of(cls, values: Any, ensemble_shape: tuple[int, ...]) -> Best:
        """Return what another's `state_dict` returned, checked."""
        if not isinstance(values, Mapping) or not set(cls._fields) <= values.keys():
            msg = f"best must be None or hold loss and epoch, got {values!r}"
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
    """Return a state for the networks for which a condition on the host holds, and for the others another one."""
    if bool(host.all(condition)):
        return state
    if not bool(host.any(condition)):
        return other
    with backend.on_device():
        return state.where(backend.xp, backend.asarray(condition), other)


@dataclass(frozen=True, eq=False)
class EarlyStopping:
    """The best state of every network so far, and for how long there has been no better one.

    Each network of an ensemble is judged alone. All but the state are host arrays of shape () or (E,).

    Attributes
    ----------
    state : State
        The states of the networks after their best epochs.
    loss : array of float
        The least loss of each; infinite before there was one.
    epoch : array of int
        In which epoch, from 0, each had it; −1 before there was one.
    waited : array of int
        For how many epochs each has not improved.
    waits : array of bool
        Which of them may still improve.
    """

    state: State
    loss: Array
    epoch: Array
    waited: Array
    waits: Array

    @classmethod
    def start(cls, state: State, ensemble_shape: tuple[int, ...], best: Best | None = None) -> EarlyStopping:
        """Return it before the first epoch; with a best one from before it only goes back to what is better."""
        if best is None:
            best = Best(host.full(ensemble_shape, host.inf), host.full(ensemble_shape, -1))
        zeros, ones = host.zeros(ensemble_shape, dtype=host.int64), host.ones(ensemble_shape, dtype=host.bool)
        return cls(state, best.loss, best.epoch, zeros, ones)

    def after_epoch(
        self, backend: Backend, epoch: int, loss: Array, state: State, *, patience: int, tol: float
    ) -> EarlyStopping:
        """Return it after one more epoch, given the losses on the host and the states.

        A network has improved where its loss is below its best by more than `tol`; one that has not improved for
        `patience` epochs is not judged again.
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
        """The best losses and epochs, or None if no network had a finite loss yet."""
        return Best(HOST.asarray(self.loss), HOST.asarray(self.epoch)) if bool(host.any(self.epoch >= 0)) else None

    def state_or(self, backend: Backend, other: State) -> State:
        """Return the best state, and the other one for networks that had no finite loss."""
        return _chosen(backend, self.epoch >= 0, self.state, other)

    def moved(self, backend: Backend) -> EarlyStopping:
        """Return it with the state on another backend."""
        return replace(self, state=self.state.map(lambda array: bring("the best state", array, backend)))

    def state_dict(self, backend: Backend) -> dict[str, Any]:
        """Return all of it, on the host."""
        theta, optimizer_state = self.state.map(lambda array: host.asarray(backend.to_numpy(array), copy=True))
        kept = {name: host.asarray(getattr(self, name), copy=True) for name in _SAVED}
        return {**kept, "theta": theta, "optimizer_state": list(optimizer_state)}

    @classmethod
    def of(cls, values: Any, state: State, ensemble_shape: tuple[int, ...]) -> EarlyStopping:
        """Return what another's `state_dict` returned, checked, with its state brought to a backend already."""
        missing = [name for name in _SAVED if not (isinstance(values, Mapping) and name in values)]
        if missing:
            msg = f"early_stopping lacks {', '.join(missing)}"
            raise ValueError(msg)
        arrays = [copied(f"early_stopping {name}", values[name], HOST, dtype) for name, dtype in _SAVED.items()]
        for name, array in zip(_SAVED, arrays, strict=True):
            same_shape(f"early_stopping {name}", array, ensemble_shape)
            given = copied(f"early_stopping {name}", values[name], HOST, "float64")
            if name != "loss" and not bool(host.all(given == array)):
                msg = f"early_stopping {name} must be whole numbers, or truth values, got {repr(values[name])}"
                raise ValueError(msg)
        return cls(state, *arrays)
