"""The complete state of a network in training: moved, copied, saved and split into its networks as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr
from typing import Any

from xpnet._checks import finite_array, is_integer, same_shape, type_name
from xpnet._types import Array, State
from xpnet.backends import HOST, Backend
from xpnet.core.contracts import initial_optimizer_state
from xpnet.core.members import Members
from xpnet.core.settings import Settings, public
from xpnet.data.placement import bring, copied
from xpnet.data.samples import LABEL_TYPES, Form
from xpnet.optimizers import kind_of
from xpnet.predictor import Snapshot
from xpnet.training.early_stopping import Best, EarlyStopping
from xpnet.training.history import History

_SAVED = (
    *("theta", "optimizer", "optimizer_state", "history", "first_epoch", "last_measured", "seed", "draws"),
    *("form", "best", "early_stopping"),
)

host = HOST.xp


@dataclass(frozen=True, eq=False, kw_only=True)
class Progress(Snapshot):
    """The complete state of a network in training at one moment.

    Attributes
    ----------
    optimizer_state : tuple of arrays
        The optimizer state.
    draws : int
        How often parameters have been drawn from the seed.
    history : History
        The losses and metrics of every epoch since the weights were initialized.
    early_stopping : EarlyStopping or None
        During a training with early stopping: the best state so far.
    best : Best or None
        After a training with early stopping: the loss and the epoch of the parameters.
    """

    optimizer_state: tuple[Array, ...]
    draws: int
    history: History
    early_stopping: EarlyStopping | None = None
    best: Best | None = None

    @classmethod
    def initial(cls, settings: Settings, backend: Backend, draws: int = 0) -> Progress:
        """Return the state of an untrained network, with parameters drawn after `draws` earlier draws."""
        members = Members(settings)
        members.try_parts(backend)
        theta = members.draw(draws, backend, settings.layout)
        return cls(
            settings=settings,
            backend=backend,
            theta=theta,
            optimizer_state=new_optimizer_state(settings, backend, theta),
            draws=draws + 1,
            history=History(settings.ensemble_shape),
        )

    @property
    def state(self) -> State:
        """The state that a training step updates."""
        return State(self.theta, self.optimizer_state)

    def moved(self, backend: Backend) -> Progress:
        """Return a copy on a backend."""
        if backend == self.backend:
            return self
        theta, optimizer_state = self.state.map(lambda array: bring("the state", array, backend))
        early_stopping = self.early_stopping and self.early_stopping.moved(backend)
        return self.replaced(
            backend=backend, theta=theta, optimizer_state=optimizer_state, early_stopping=early_stopping
        )

    def with_parameters(self, theta: Array, optimizer_state: tuple[Array, ...] | None = None) -> Progress:
        """Return a copy with other parameters, and without the state and the result of early stopping."""
        state = self.optimizer_state if optimizer_state is None else optimizer_state
        return self.replaced(theta=theta, optimizer_state=state, early_stopping=None, best=None)

    def member(self, i: int) -> Progress:
        """Return the state of one network of an ensemble."""
        settings, P = self.settings.member(i), self.settings.layout.size
        with self.backend.on_device():
            xp = self.backend.xp
            own = self.state.map(lambda array: xp.asarray(array[i, ...], copy=True))
            if self.settings.has_unequal_sizes:
                positions = self.backend.asarray(host.nonzero(self.settings.present[i])[0], "int32")
                own = own.map(lambda array: xp.take(array, positions, axis=-1) if array.shape[-1] == P else array)
        return Progress(
            settings=settings,
            backend=self.backend,
            theta=own.theta,
            optimizer_state=own.optimizer_state,
            draws=self.draws,
            history=self.history.member(i),
            form=self.form,
            best=self.best and self.best.member(i),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything but the settings, on the host: see `NeuralNetwork.state_dict`."""
        theta, optimizer_state = self.state.map(lambda array: HOST.xp.asarray(self.backend.to_numpy(array), copy=True))
        history = self.history.settled()
        return {
            "theta": theta,
            "optimizer": kind_of(self.settings.optimizer),
            "optimizer_state": list(optimizer_state),
            "history": {name: HOST.xp.asarray(history[name], copy=True) for name in history},
            "first_epoch": history.first_epoch,
            "last_measured": list(history.last_names),
            "seed": public(self.settings.seed),
            "draws": self.draws,
            "form": self.form and list(self.form),
            "best": self.best and self.best.state_dict(),
            "early_stopping": self.early_stopping and self.early_stopping.state_dict(self.backend),
        }

    @classmethod
    def of(cls, settings: Settings, backend: Backend, values: Any) -> Progress:
        """Validate what `state_dict` returned, and return it as the state of a network with the given settings.

        Raises
        ------
        TypeError, ValueError
            If it is invalid, or does not match the settings.
        """
        missing = [name for name in _SAVED if not (isinstance(values, Mapping) and name in values)]
        if missing:
            msg = f"state must be a mapping as state_dict returns it, got no {', '.join(missing)}"
            raise ValueError(msg)
        ours, shape = kind_of(settings.optimizer), settings.ensemble_shape
        if not isinstance(values["optimizer"], str) or values["optimizer"] != ours:
            msg = f"state must be of the network's optimizer {ours!r}, got {repr(values['optimizer'])}"
            raise ValueError(msg)
        if not is_integer(values["draws"]) or values["draws"] < 1:
            msg = f"draws must be a positive integer, got {values['draws']!r}"
            raise ValueError(msg)
        if values["seed"] is None:
            msg = "seed must be the seed of the other network, got None"
            raise ValueError(msg)
        Members(settings).try_parts(backend)
        state, early_stopping = _state_of(settings, backend, values), None
        if values["early_stopping"] is not None:
            best_state = _state_of(settings, backend, values["early_stopping"])
            early_stopping = EarlyStopping.of(values["early_stopping"], best_state, shape)
        return cls(
            settings=settings.replaced(seed=values["seed"]),
            backend=backend,
            theta=state.theta,
            optimizer_state=state.optimizer_state,
            draws=int(values["draws"]),
            form=_form_of(values["form"]),
            history=History.of(values["history"], shape, values["last_measured"], values["first_epoch"]),
            best=None if values["best"] is None else Best.of(values["best"], shape),
            early_stopping=early_stopping,
        )


def _form_of(value: Any) -> Form | None:
    if value is None:
        return None
    pair = isinstance(value, (list, tuple)) and len(value) == 2 and is_integer(value[0]) and isinstance(value[1], str)
    if not pair or not 1 <= value[0] <= 3 or value[1] not in LABEL_TYPES:
        msg = f"form must be None or a pair (number of axes of the targets, name of a dtype), got {repr(value)}"
        raise ValueError(msg)
    return Form(int(value[0]), value[1])


def _state_of(settings: Settings, backend: Backend, values: Any) -> State:
    """Return copies of given parameters and optimizer state on a backend, with validated shapes and dtypes."""
    for name in ("theta", "optimizer_state"):
        if not isinstance(values, Mapping) or name not in values:
            msg = f"early_stopping must be a mapping with theta and optimizer_state, got no {name}"
            raise ValueError(msg)
    given = values["optimizer_state"]
    same_shape("theta", values["theta"], (*settings.ensemble_shape, settings.layout.size))
    if not isinstance(given, (tuple, list)) or not all(
        isinstance(getattr(array, "shape", None), tuple) for array in given
    ):
        msg = f"optimizer_state must be a list of arrays, got {repr(given)}"
        raise TypeError(msg)
    theta = copied("theta", values["theta"], backend, settings.dtype)
    expected = new_optimizer_state(settings, backend, theta)
    shapes, got = ([tuple(array.shape) for array in arrays] for arrays in (expected, given))
    if got != shapes:
        msg = f"optimizer_state must be that of the network's optimizer, with arrays of the shapes {shapes}, got {got}"
        raise ValueError(msg)
    optimizer_state = tuple(
        copied("optimizer_state", array, backend, type_name(like.dtype))
        for array, like in zip(given, expected, strict=True)
    )
    with backend.on_device():
        for name, array in (("theta", theta), *(("optimizer_state", array) for array in optimizer_state)):
            finite_array(backend.xp, name, array)
            Members(settings).check_absent(backend, name, array)
    return State(theta, optimizer_state)


def new_optimizer_state(settings: Settings, backend: Backend, theta: Array) -> tuple[Array, ...]:
    """Return the validated initial state of the optimizer."""
    with backend.on_device():
        return initial_optimizer_state(backend.xp, settings.optimizer, theta)
