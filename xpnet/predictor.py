"""A network that predicts: its settings, its parameters, and where they are.

`Predictor` is the part of `NeuralNetwork` that knows nothing of training. It checks what it is given, brings it to
where it computes, and lets the pure functions of `xpnet.core` do the work.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from xpnet._types import Array
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend
from xpnet.core.members import Members
from xpnet.core.parameters import Parameters
from xpnet.core.settings import Settings, public
from xpnet.data.incoming import bring_samples, brought, extent, sample_rows
from xpnet.data.placement import Transfer, bring, place_of
from xpnet.data.samples import Form
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.metrics import Metric, classes_of, metrics_by_name
from xpnet.optimizers import Optimizer


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """All that a network is at one moment.

    It never changes: a network that changes takes another one, in one assignment, so that whoever looks, and whatever
    interrupts, finds it whole.

    Attributes
    ----------
    settings : Settings
        What it is.
    backend : Backend
        Where it is.
    theta : array of shape (P,) or (E, P)
        Its parameters.
    form : Form or None
        The form of the targets that it was trained on, if it was.
    """

    settings: Settings
    backend: Backend
    theta: Array
    form: Form | None = None

    def replaced(self, **changes: Any) -> Self:
        """Return it with some of its attributes replaced, as `dataclasses.replace` does in four times the time."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **changes)
        return new

    def moved(self, backend: Backend) -> Self:
        """Return it on another backend."""
        return self.replaced(backend=backend, theta=bring("theta", self.theta, backend))

    def with_parameters(self, theta: Array) -> Self:
        """Return it with other parameters."""
        return self.replaced(theta=theta)


def _setting(name: str) -> Any:
    """Return the property that reads a setting."""
    (doc,) = (field.metadata["doc"] for field in fields(Settings) if field.name == name)
    return property(lambda network: public(getattr(network._snapshot.settings, name)), doc=doc)


class Predictor:
    """A network that predicts; see `NeuralNetwork`.

    Parameters
    ----------
    snapshot : Snapshot
        What it is, and where.
    follows_data : bool
        Whether it goes to the device of the data that it is given.
    """

    # Names with one underscore are for the rest of the package, too.
    _snapshot: Any

    def __init__(self, snapshot: Snapshot, *, follows_data: bool) -> None:
        self._snapshot = snapshot
        self._follows_data = follows_data
        self._lock = threading.RLock()  # held by whoever makes the next snapshot of this one

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __copy__(self) -> Self:
        # A copy shares nothing that changes, and arrays can be changed in place.
        return copy.deepcopy(self)

    # ---- Its settings, to read

    layer_list: list[int] = _setting("layer_list")
    ensemble: int | None = _setting("ensemble")
    dtype: str = _setting("dtype")
    seed: int | list[int] = _setting("seed")
    loss: Loss = _setting("loss")
    activations: list[Activation] = _setting("activations")
    optimizer: Optimizer = _setting("optimizer")
    initializer: list[Initializer] = _setting("initializer")
    initial_scale: float | list[float] = _setting("initial_scale")
    weight_decay: float | list[float] = _setting("weight_decay")
    l2: float | list[float] = _setting("l2")
    l1: float | list[float] = _setting("l1")
    clip_norm: float | list[float] | None = _setting("clip_norm")
    dropout: list[float] = _setting("dropout")

    @property
    def settings(self) -> dict[str, Any]:
        """What the network was built with, but for the device, so that ``NeuralNetwork(**settings)`` is another."""
        return self._settings.by_name()

    @property
    def _settings(self) -> Settings:
        settings: Settings = self._snapshot.settings
        return settings

    @property
    def _members(self) -> Members:
        return Members(self._snapshot.settings)

    # ---- Its parameters

    @property
    def theta(self) -> Array:
        """All parameters in one vector of shape (P,), or (E, P); to read only while the network trains."""
        snapshot = self._snapshot
        return snapshot.backend.read_only(snapshot.theta) if self._is_training() else snapshot.theta

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`; assigning writes into it."""
        return Parameters(self, self._snapshot.settings.layout)

    def _assign(self, values: dict[str, Any]) -> None:
        """Replace some of the parameters."""
        with self._lock:
            self._refuse_while_training("assigning a parameter")
            self._snapshot = self._snapshot.with_parameters(self.parameters.replaced(values))

    def _is_training(self) -> bool:
        """Say whether nobody may change the network now, nor move it."""
        return False

    def _refuse_while_training(self, what: str) -> None:
        """Raise an error if nobody may change the network now."""

    # ---- Where the data is, and where the network is

    @property
    def backend(self) -> Backend:
        """Where the network is."""
        backend: Backend = self._snapshot.backend
        return backend

    def _transfer(self, **data: Any) -> Transfer:
        """Plan the way of these arguments to the network, which goes to them if it follows the data."""
        place = place_of(**data)
        goes = place if self._follows_data and not self._is_training() else None
        return Transfer(place or HOST, goes or self.backend, self.dtype)

    def _at(self, backend: Backend) -> Any:
        """Move to a backend, and return the snapshot there."""
        snapshot = self._snapshot
        if backend == snapshot.backend:
            return snapshot
        with self._lock:
            snapshot = self._snapshot.moved(backend)
            if not self._is_training():
                self._snapshot = snapshot
            return snapshot

    # ---- What it predicts

    def predict(self, X: Array) -> Array:
        """Return the outputs of the network.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row. For an ensemble also (E, N, n_0): a set for each of its networks.

        Returns
        -------
        y : array of shape (N, n_L), (N, n_L, 1), or (N,) where there is one output
            The outputs, in the shape that y had in training, or before it in that of X, and in the library and on the
            device of X; those of an ensemble have a leading axis of networks.
        """
        transfer, settings = self._transfer(X=X), self._settings
        n_L = settings.layer_list[-1]
        with transfer.backend.on_device():
            outputs, axes = self._outputs(transfer, X)
            form = self._snapshot.form
            axes = axes if form is None else form.axes
            shape = (-1, n_L, 1) if axes == 3 else (-1,) if axes == n_L == 1 else (-1, n_L)
            return transfer.to_caller(transfer.backend.xp.reshape(outputs, (*settings.ensemble_shape, *shape)))

    def predict_classes(self, X: Array) -> Array:
        """Return the classes that the network takes samples for.

        With softmax, or several outputs of which one should be the greatest, a class is the number of an output. A
        single output, or each of several with the binary cross-entropy, stands for its lower or its upper bound, with a
        sigmoid 0 or 1.

        Parameters
        ----------
        X : array
            As for `predict`.

        Returns
        -------
        labels : array of shape (N,), or (N, n_L) where each output is a yes or a no
            In the type that the labels had in training, else int64, and in the library and on the device of X; those of
            an ensemble have a leading axis of networks.

        Raises
        ------
        ValueError
            If outputs are numbers and not classes.
        """
        transfer, settings = self._transfer(X=X), self._settings
        backend, xp = transfer.backend, transfer.backend.xp
        with backend.on_device():
            outputs, _ = self._outputs(transfer, X)
            classes = classes_of(xp, outputs.mT, settings)
            form = self._snapshot.form
            labels = bring("the classes", classes, transfer.caller, "int64" if form is None else form.dtype)
            return labels.mT if classes.ndim > len(settings.ensemble_shape) + 1 else labels

    def _outputs(self, transfer: Transfer, X: Any) -> tuple[Array, int]:
        """Return the outputs for samples, of shape (..., N, n_L), and how many axes the samples of one network had."""
        backend, settings = transfer.backend, self._settings
        X = brought(transfer, "X", X)
        rows = sample_rows("X", X, settings.layer_list[0], "first layer", settings.ensemble)
        extent(backend.xp, "X", rows, self.dtype)
        return self._members.predict(backend, self._at(backend).theta, rows), X.ndim - (rows.ndim - 2)

    def evaluate(
        self,
        X: Array,
        y: Array,
        *,
        sample_weight: Array | None = None,
        metrics: Sequence[str | Metric] | str | Metric = (),
    ) -> dict[str, Any]:
        """Return the loss and the metrics of the network on samples.

        Parameters
        ----------
        X, y, sample_weight, metrics
            As for `train`.

        Returns
        -------
        measured : dict
            ``loss``, and the metrics by name: of each a float, or for an ensemble a host array of shape (E,).
        """
        functions = metrics_by_name(metrics, self._settings)
        given = {"X": X, "y": y, "sample_weight": sample_weight}
        transfer = self._transfer(**given)
        backend = transfer.backend
        with backend.on_device():
            samples = bring_samples(transfer, given, self._settings)
            self._members.check_metrics(samples, functions)
            measured = self._members.measure(backend, self._at(backend).theta, samples, functions)
        host = {name: backend.to_numpy(value) for name, value in measured.items()}
        return {name: float(value) for name, value in host.items()} if self.ensemble is None else host
