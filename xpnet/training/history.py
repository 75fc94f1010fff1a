"""The history of training: the losses and metrics of every epoch since the weights were initialized."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from reprlib import repr
from typing import Any

from xpnet import plotting
from xpnet._checks import is_integer
from xpnet._types import Array
from xpnet.backends import HOST, Backend
from xpnet.data.placement import copied

host = HOST.xp


class _Record:
    """An append-only log of the losses and metrics of every epoch.

    Arrays stay on their device until they are read. Threads may read and append at the same time.
    """

    def __init__(self, ensemble_shape: tuple[int, ...]) -> None:
        self.ensemble_shape = ensemble_shape
        self.names: list[tuple[str, ...]] = []  # the names measured in each epoch
        self.first: dict[str, int] = {}  # the first epoch of each name
        self.unread: list[tuple[int, int, Backend, dict[str, Array]]] = []  # first and last epoch, and their arrays
        self.columns: dict[str, Array] = {}  # the values on the host, with capacity for more epochs
        self._lock = threading.RLock()

    def extended(self, epochs: int, backend: Backend, measured: Mapping[str, Array]) -> _Record:
        """Return a record with more epochs after the first `epochs`: this one, or a copy if it has more epochs."""
        with self._lock:
            record = self if len(self.names) == epochs else self._until(epochs)
            while record.unread and record.unread[-1][0] >= epochs:
                record.unread.pop()  # left by an interrupt between the next lines
            names, stop = tuple(measured), epochs + measured["loss"].shape[0]
            record.unread.append((epochs, stop, backend, dict(measured)))
            last = record.names[-1:]
            record.names += (last if last == [names] else [names]) * (stop - epochs)
            for name in names:
                record.first.setdefault(name, epochs)
            return record

    def names_until(self, epochs: int) -> list[str]:
        """Return the names measured in the first epochs."""
        with self._lock:
            return [name for name, first in self.first.items() if first < epochs]

    def column(self, name: str) -> Array:
        """Return the values of a name, of shape (at least epochs, ...)."""
        with self._lock:
            self._fetch()
            return self.columns[name]

    def _fetch(self) -> None:
        """Transfer all unread values to the host: one transfer for each name, not for each epoch."""
        while self.unread:
            start, _, backend, first = self.unread[0]
            _, group = next(groupby(self.unread, lambda each: (each[2], each[3].keys())))
            same = list(group)
            stop = same[-1][1]
            for name in first:
                with backend.on_device():
                    arrays = [measured[name] for *_, measured in same]
                    joined = arrays[0] if len(arrays) == 1 else backend.xp.concat(arrays)
                self._room_for(name, stop)[start:stop] = backend.to_numpy(joined)
            del self.unread[: len(same)]  # only now, so that an interrupt loses nothing

    def _room_for(self, name: str, epochs: int) -> Array:
        column = self.columns.get(name)
        if column is None or column.shape[0] < epochs:
            # Doubling the capacity makes the cost of an epoch independent of the number of epochs.
            larger = host.full((2 * epochs, *self.ensemble_shape), host.nan)
            if column is not None:
                larger[: column.shape[0]] = column
            self.columns[name] = column = larger
        return column

    def _until(self, epochs: int) -> _Record:
        """Return a copy of the first epochs."""
        record = _Record(self.ensemble_shape)
        record.names = self.names[:epochs]
        record.unread = [
            (
                start,
                min(stop, epochs),
                backend,
                {name: array[: epochs - start, ...] for name, array in measured.items()},
            )
            for start, stop, backend, measured in self.unread
            if start < epochs
        ]
        record.first = {name: first for name, first in self.first.items() if first < epochs}
        record.columns = {name: host.asarray(column[:epochs], copy=True) for name, column in self.columns.items()}
        return record


class History(Mapping[str, Array]):
    """The losses and metrics of every epoch, by name: ``history["loss"]``, ``history["validation_loss"]`` and so on.

    Each is a read-only host array in double precision, of shape (epochs,), or (epochs, E) for an ensemble, with NaN for
    epochs in which it was not measured. Values stay on the device until they are read; reading waits for the device. A
    history is immutable: further training creates another one.

    Parameters
    ----------
    ensemble_shape : tuple of int
        () for one network, (E,) for an ensemble.
    first_epoch : int
        The number of the first recorded epoch, from 0; above 0 after `NeuralNetwork.clear_history`.

    Attributes
    ----------
    epochs : int
        The number of epochs, recorded or cleared.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork
    >>> network = NeuralNetwork([1, 3, 1], seed=0)
    >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
    >>> network.history
    History(10 epochs: loss)
    >>> network.history["loss"].shape
    (10,)
    """

    def __init__(self, ensemble_shape: tuple[int, ...] = (), first_epoch: int = 0) -> None:
        self.ensemble_shape, self.first_epoch = ensemble_shape, first_epoch
        self.epochs = first_epoch
        # Successive histories share a record; each one uses its first epochs.
        self.record = _Record(ensemble_shape)

    def with_epochs(self, backend: Backend, measured: Mapping[str, Array]) -> History:
        """Return a history with more epochs: arrays of shape (epochs, *ensemble_shape) on a backend, by name."""
        record = self.record.extended(self._recorded, backend, measured)
        return self._of(record, self.epochs + measured["loss"].shape[0])

    def _of(self, record: _Record, epochs: int) -> History:
        history = History.__new__(History)
        history.ensemble_shape, history.first_epoch = self.ensemble_shape, self.first_epoch
        history.record, history.epochs = record, epochs
        return history

    @property
    def _recorded(self) -> int:
        return self.epochs - self.first_epoch

    def until(self, epochs: int) -> History:
        """Return a history of only the first epochs."""
        return self._of(self.record, max(min(self.epochs, epochs), self.first_epoch))

    def cleared(self, *, last: bool) -> History:
        """Return a history without these epochs, or with only the last of them."""
        if not last or not self.last_names:
            return History(self.ensemble_shape, self.epochs)
        columns = {name: values[None, ...] for name, values in self.last().items()}
        return History.of(columns, self.ensemble_shape, self.last_names, self.epochs - 1)

    def settled(self) -> History:
        """Return a history without the trailing epochs in which no network's loss is finite."""
        finite = host.isfinite(self["loss"])
        kept = host.nonzero(host.any(finite, axis=tuple(range(1, finite.ndim))))[0]
        return self.until(self.first_epoch + (int(kept[-1]) + 1 if kept.size else 0))

    @property
    def last_names(self) -> tuple[str, ...]:
        """The names measured in the last epoch."""
        return self.record.names[self._recorded - 1] if self._recorded else ()

    @property
    def monitored(self) -> str:
        """The monitored quantity: the validation loss if the last epoch has it, else the loss."""
        return "validation_loss" if "validation_loss" in self.last_names else "loss"

    def since(self, name: str, epoch: int) -> Array:
        """Return the values of a name from an epoch on."""
        return self[name][max(epoch - self.first_epoch, 0) :] if name in self else self["loss"][:0]

    def last(self) -> dict[str, Array]:
        """Return the values of the last epoch by name."""
        return {name: self[name][-1] for name in self.last_names}

    def __getitem__(self, name: str) -> Array:
        if name not in self:
            msg = f"the name of a recorded quantity must be one of {', '.join(map(repr, self))}, got {repr(name)}"
            raise KeyError(msg)
        epochs = self._recorded
        column = self.record.column(name)[:epochs] if epochs else host.zeros((0, *self.ensemble_shape))
        if column.shape[0] < epochs:  # not measured in the last epochs
            missing = host.full((epochs - column.shape[0], *self.ensemble_shape), host.nan)
            column = host.concat([column, missing])
        column.flags.writeable = False
        return column

    def _names(self) -> list[str]:
        return self.record.names_until(self._recorded) or ["loss"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._names()

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.epochs} epochs: {', '.join(self)})"

    def __array__(self, *_: Any, **__: Any) -> Any:
        msg = "a history is not an array, but holds several arrays by name; use history['loss'] or dict(history)"
        raise TypeError(msg)

    # Histories compare by identity: the values of a mapping of arrays have no single truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        settled = self.settled()
        return History.of, (dict(settled), self.ensemble_shape, settled.last_names, self.first_epoch)

    def member(self, i: int) -> History:
        """Return the history of one network of an ensemble."""
        return History.of({name: self[name][:, i] for name in self}, (), self.last_names, self.first_epoch)

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Any],
        ensemble_shape: tuple[int, ...],
        last_names: Iterable[str] | None = None,
        first_epoch: Any = 0,
    ) -> History:
        """Validate and return a history with the arrays ``dict(history)`` of another one, and its `last_names`."""
        if not is_integer(first_epoch) or not 0 <= first_epoch < 2**53:
            msg = f"first_epoch must be 0 or a positive integer, got {repr(first_epoch)}"
            raise ValueError(msg)
        if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
            msg = f"history must be a mapping of names to arrays, got {repr(columns)}"
            raise TypeError(msg)
        known = isinstance(last_names, (list, tuple)) and all(
            isinstance(name, str) and name in columns for name in last_names
        )
        if last_names is not None and not known:
            msg = f"last_measured must be a list of names of the history, got {repr(last_names)}"
            raise ValueError(msg)
        history, epochs = cls(ensemble_shape, int(first_epoch)), 0
        arrays = {name: copied(f"the history's {name}", values, HOST, "float64") for name, values in columns.items()}
        for name, array in arrays.items():
            shape = (*arrays["loss"].shape[:1], *ensemble_shape) if "loss" in arrays else None
            if array.shape != shape or not array.ndim:
                expected = f"have the shape {shape}" if shape else "come with a loss"
                msg = f"the history's {name} must {expected}, got the shape {tuple(array.shape)}"
                raise ValueError(msg)
            epochs = array.shape[0]
        if not epochs:
            return history
        if last_names is None:
            last_names = tuple(name for name, array in arrays.items() if not bool(host.all(host.isnan(array[-1]))))
        record = history.record
        record.columns = arrays
        for name, array in arrays.items():
            measured = ~host.all(host.isnan(array), axis=tuple(range(1, array.ndim)))
            record.first[name] = int(host.argmax(measured)) if name != "loss" else 0
        record.names = [tuple(arrays)] * (epochs - 1) + [tuple(last_names)]
        history.epochs += epochs
        return history

    def plot(self, *, log: bool = False) -> Any:
        """Plot all losses over the epochs in one panel, and all metrics in another.

        Parameters
        ----------
        log : bool
            Whether the axis of the losses is logarithmic.

        Returns
        -------
        figure : matplotlib.figure.Figure
            The figure, for example to save: ``history.plot().savefig("loss.png")``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plotting.history_figure(dict(self), first_epoch=self.first_epoch, log=log)
