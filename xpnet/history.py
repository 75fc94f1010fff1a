"""The record of a training: what was measured in every epoch since the weights were drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xpnet import plotting
from xpnet._types import Array
from xpnet.backends import HOST, Backend

host = HOST.xp


class History(Mapping[str, Array]):
    """What was measured in every epoch, by name: ``history["loss"]``, ``history["validation_loss"]`` and so on.

    Each is a host array in double precision, of shape (epochs,), or (epochs, E) for an ensemble, with NaN for the
    epochs in which it was not measured. What has been measured stays on the device until somebody asks for it; reading
    waits.

    Parameters
    ----------
    lead : tuple of int
        () for one network, (E,) for an ensemble.
    """

    def __init__(self, lead: tuple[int, ...] = ()) -> None:
        self.lead = lead
        self._columns: dict[str, list[Array]] = {}
        self._latest: tuple[str, ...] = ()  # what was measured in the last epoch
        self._read = 0  # epochs
        self._unread: list[dict[str, Array]] = []
        self._backend = HOST

    def record(self, backend: Backend, figures: Mapping[str, Array]) -> None:
        """Add an epoch: arrays of shape `lead` on a backend, by name."""
        if backend != self._backend:
            self._fetch()
            self._backend = backend
        self._unread.append(dict(figures))
        self._latest = tuple(figures)

    def _fetch(self) -> None:
        """Bring to the host what is still on the device: one transfer for each name, not for each epoch."""
        if not self._unread:
            return
        unread, nothing, measured = self._unread, host.full(self.lead, host.nan), {}
        for name in dict.fromkeys(name for figures in unread for name in figures):
            with self._backend.on_device():
                stacked = self._backend.xp.stack([figures[name] for figures in unread if name in figures])
                measured[name] = iter(HOST.asarray(self._backend.to_numpy(stacked), "float64"))
        for name in dict.fromkeys([*self._columns, *measured]):
            values, column = measured.get(name, iter(())), self._columns.setdefault(name, [nothing] * self._read)
            # In the place of what a reading that Ctrl-C cut short may have left; what counts is how many are read.
            column[self._read :] = [next(values) if name in figures else nothing for figures in unread]
        self._read, self._unread = self._read + len(unread), []

    @property
    def epochs(self) -> int:
        """How many epochs are recorded."""
        return self._read + len(self._unread)

    @property
    def monitored(self) -> str:
        """What says how good the network is: the validation loss if the last epoch has it, else the loss."""
        return "validation_loss" if "validation_loss" in self._latest else "loss"

    def since(self, name: str, epoch: int) -> list[Array]:
        """Return what was measured in each epoch from a number on."""
        self._fetch()
        return self._columns.get(name, [])[epoch:]

    def last(self) -> dict[str, Array]:
        """Return what was measured in the last epoch."""
        self._fetch()
        return {name: self._columns[name][-1] for name in self._latest}

    def __getitem__(self, name: str) -> Array:
        self._fetch()
        if name not in self._columns and name != "loss":
            msg = f"nothing was recorded as {name!r}; there are {', '.join(map(repr, self))}"
            raise KeyError(msg)
        column = self._columns.get(name)
        return host.stack(column) if column else host.zeros((0, *self.lead))

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys([*self._columns, *(name for figures in self._unread for name in figures)])
        return iter(names or ("loss",))

    def __len__(self) -> int:
        return len([*iter(self)])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.epochs} epochs: {', '.join(self)})"

    # A record is itself, whatever it holds.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def cut(self, epochs: int) -> None:
        """Forget all but the first epochs."""
        self._fetch()
        self._read = min(self._read, epochs)
        for column in self._columns.values():
            del column[epochs:]
        self._find_latest()

    def _find_latest(self) -> None:
        columns = self._columns.items() if self._read else ()
        self._latest = tuple(name for name, column in columns if not bool(host.all(host.isnan(column[-1]))))

    def member(self, i: int) -> History:
        """Return the record of one network of an ensemble."""
        self._fetch()
        own = History()
        own._columns = {name: [values[i] for values in column] for name, column in self._columns.items()}
        own._read, own._latest = self._read, self._latest
        return own

    @classmethod
    def of(cls, columns: Mapping[str, Any], lead: tuple[int, ...]) -> History:
        """Return a history that holds what ``dict(history)`` gave of another."""
        history = cls(lead)
        if not isinstance(columns, Mapping):
            msg = f"a history is a mapping of names to arrays, got {columns!r}"
            raise TypeError(msg)
        arrays = {name: host.asarray(HOST.asarray(values, "float64"), copy=True) for name, values in columns.items()}
        for name, array in arrays.items():
            shape = (arrays["loss"].shape[0], *lead) if "loss" in arrays else None
            if array.shape != shape:
                msg = f"the history's {name} has the shape {tuple(array.shape)}, expected {shape or 'a loss beside it'}"
                raise ValueError(msg)
            history._columns[name], history._read = list(array), array.shape[0]
        history._find_latest()
        return history

    def plot(self, *, log: bool = False) -> Any:
        """Draw all that was recorded over the epochs, losses in one field and metrics in another; return the figure.

        Parameters
        ----------
        log : bool
            Whether the axis of the losses is logarithmic.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plotting.history_figure(dict(self), log=log)
