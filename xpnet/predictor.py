"""Prediction: the base class of `NeuralNetwork` with the settings, the parameters and the device.

`Predictor` does not depend on training. It validates the arguments, transfers them to the device of the network, and
calls the pure functions of `xpnet.core`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from xpnet._types import Array, Layers
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend
from xpnet.core.members import Members
from xpnet.core.parameters import Parameters
from xpnet.core.settings import Settings, public
from xpnet.data.incoming import bring_samples, brought, check_finite, sample_rows
from xpnet.data.placement import Transfer, bring, common_backend
from xpnet.data.samples import Form
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.metrics import Metric, classes_of, metrics_by_name
from xpnet.optimizers import Optimizer


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """The complete state of a network at one moment; immutable.

    Every change of a network replaces its snapshot in one assignment, so that other threads and interrupts always see
    a consistent state.

    Attributes
    ----------
    settings : Settings
        The settings.
    backend : Backend
        The backend and device of the arrays.
    theta : array of shape (P,) or (E, P)
        The parameters.
    form : Form or None
        The form of the targets in training; None before training.
    """

    settings: Settings
    backend: Backend
    theta: Array
    form: Form | None = None

    @cached_property
    def layers(self) -> Layers:
        """The weights and biases of all layers, views into theta."""
        return self.settings.layout.layers(self.backend.xp, self.theta)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "layers"}

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with some attributes replaced; `dataclasses.replace` would take four times as long."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **changes)
        new.__dict__.pop("layers", None)
        return new

    def moved(self, backend: Backend) -> Self:
        """Return a copy on another backend."""
        return self.replaced(backend=backend, theta=bring("theta", self.theta, backend))

    def with_parameters(self, theta: Array) -> Self:
        """Return a copy with other parameters."""
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
        The initial state.
    follows_data : bool
        Whether the network moves to the device of the data.
    """

    # The rest of the package uses the names with one underscore, too.
    _snapshot: Any

    def __init__(self, snapshot: Snapshot, *, follows_data: bool) -> None:
        self._snapshot = snapshot
        self._follows_data = follows_data
        self._lock = threading.RLock()  # held while the next snapshot is computed from the current one

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __copy__(self) -> Self:
        # Arrays can be changed in place, so that a copy must not share them.
        return copy.deepcopy(self)

    # ---- Settings, read-only

    layer_list: list[int] | list[list[int]] = _setting("layer_list")
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
    alpha: float | list[float] | None = _setting("alpha")
    clip_norm: float | list[float] | None = _setting("clip_norm")
    dropout: list[float] = _setting("dropout")

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the network except the device: ``NeuralNetwork(**settings)`` builds an equal network."""
        return self._settings.by_name()

    @property
    def _settings(self) -> Settings:
        settings: Settings = self._snapshot.settings
        return settings

    @property
    def _members(self) -> Members:
        return Members(self._snapshot.settings)

    # ---- Parameters

    @property
    def theta(self) -> Array:
        """All parameters in one vector of shape (P,), or (E, P); read-only while the network trains."""
        snapshot = self._snapshot
        return snapshot.backend.read_only(snapshot.theta) if self._is_training() else snapshot.theta

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`."""
        return Parameters(self, self._snapshot.settings.layout)

    def _assign(self, values: dict[str, Any]) -> None:
        """Replace some of the parameters."""
        with self._lock:
            self._refuse_while_training("assigning a parameter")
            self._snapshot = self._snapshot.with_parameters(self.parameters.replaced(values))

    def _is_training(self) -> bool:
        """Return whether the network trains, and must not be changed or moved."""
        return False

    def _refuse_while_training(self, what: str) -> None:
        """Raise an error if the network trains."""

    # ---- Device

    @property
    def backend(self) -> Backend:
        """The backend, and with it the device, of the network."""
        backend: Backend = self._snapshot.backend
        return backend

    def _transfer(self, **data: Any) -> Transfer:
        """Return the transfer of these arguments to the device of the network, or of the data if it follows them."""
        place = common_backend(**data)
        target = place if self._follows_data and not self._is_training() else None
        return Transfer(place or HOST, target or self.backend, self.dtype)

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

    # ---- Predictions

    def predict(self, X: Array) -> Array:
        """Return the predictions of the network, the outputs of its output layer.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) for one input
            The samples, one per row. For an ensemble also (E, N, n_0): other samples for each network.

        Returns
        -------
        y : array of shape (N, n_L), (N, n_L, 1), or (N,) for one output; for an ensemble with a leading axis (E, ...)
            The predictions, in the library and on the device of X. They have as many axes as y had in training, or
            before training as X has.

        Raises
        ------
        TypeError, ValueError
            If X is not an array of finite real numbers of one of these shapes.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([2, 4, 3], seed=0)
        >>> network.predict(np.zeros((5, 2))).shape
        (5, 3)
        >>> ensemble = NeuralNetwork([2, 4, 3], ensemble=10, seed=0)
        >>> ensemble.predict(np.zeros((5, 2))).shape
        (10, 5, 3)
        """
        transfer, settings = self._transfer(X=X), self._settings
        n_L = settings.sizes[-1]
        with transfer.backend.on_device():
            outputs, axes = self._outputs(transfer, X)
            form = self._snapshot.form
            axes = axes if form is None else form.axes
            if axes == 3:
                outputs = outputs[..., None]
            elif axes == n_L == 1:
                outputs = outputs[..., 0]
            return transfer.to_caller(outputs)

    def predict_classes(self, X: Array) -> Array:
        """Return the predicted class of each sample.

        With softmax, or with several outputs of which one is the greatest, the class is the index of that output. A
        single output is rounded to its lower or upper bound, which is 0 or 1 for a sigmoid; with the binary
        cross-entropy so is each of several outputs.

        Parameters
        ----------
        X : array
            The samples, as for `predict`.

        Returns
        -------
        labels : array of shape (N,), or (N, n_L) for independent binary outputs; for an ensemble (E, ...)
            The labels, in the library and on the device of X, with the dtype that the labels had in training, else
            int64.

        Raises
        ------
        TypeError, ValueError
            If X is not an array of finite real numbers of such a shape, or if the outputs are not classes.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> X, y = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
        >>> network = NeuralNetwork([1, 1], activations=["sigmoid"], loss="binary_crossentropy", seed=0)
        >>> network.train(X, y, learning_rate=1.0, epochs=20, verbose=False)
        >>> network.predict_classes(X)
        array([0, 0, 1, 1])
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
        """Return the outputs for samples, of shape (..., N, n_L), and the number of axes of one network's samples."""
        backend, settings = transfer.backend, self._settings
        X = brought(transfer, "X", X)
        rows = sample_rows("X", X, settings.sizes[0], "input layer", settings.ensemble)
        check_finite(backend.xp, "X", rows, settings.dtype)
        return self._members.predict(backend, self._at(backend).layers, rows), X.ndim - (rows.ndim - 2)

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
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) for one input
            The samples, one per row.
        y : array of shape (N, n_L), (N, n_L, 1), or (N,)
            The targets, or labels.
        sample_weight : array of shape (N,), or for an ensemble (E, N), optional
            The relative weight of every sample.
        metrics : sequence of str, callable or Metric
            The metrics to compute, as for `train`.

        Returns
        -------
        measured : dict
            ``loss``, and the metrics by name: each a float, or for an ensemble a host array of shape (E,).

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid, or a metric does not fit the network or the targets.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> X, y = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
        >>> network = NeuralNetwork([1, 1], activations=["sigmoid"], loss="binary_crossentropy", seed=0)
        >>> network.train(X, y, learning_rate=1.0, epochs=20, verbose=False)
        >>> network.evaluate(X, y, metrics=["accuracy"])
        {'loss': 0.0..., 'accuracy': 1.0}
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
