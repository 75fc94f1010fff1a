"""The base class of backends.

A backend is one array library on one device; it contains no mathematics::

    name, xp, device               its name, its array API namespace, its device
    asarray, to_numpy              the only host-device transfers
    take_rows                      gather samples
    synchronize                    wait until the device has finished its work
    train_epoch                    take a training step for every batch of an epoch
    on_device                      the context to compute in, with its device as the current one
    working_memory, step_memory    the memory in bytes for networks that train in parallel, and for one step

A custom backend is a subclass: it sets `name` and `xp`, and implements `open`, `of`, `devices` and the two transfers.
It can override `train_epoch` to compile or optimize the loop over the batches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

import numpy

Array: TypeAlias = Any
S = TypeVar("S", bound=Any)


_LOSSES = 10_000  # losses are stacked in chunks of this size: separate arrays take fifty times the memory


class Step(Protocol):
    """A training step, as `Backend.train_epoch` calls it. Steps with equal parts are equal."""

    def layers(self, theta: Array) -> Any:
        """Return the weights and biases of all layers as views into theta."""

    def __call__(self, state: Any, batch: Any, layers: Any = None) -> Any:
        """Return the next state and the loss of the batch."""


class Stack(Protocol):
    """Batches of equal shapes, as `Backend.train_epoch` receives them: iterating over it yields one after the other.

    Each is a tuple. `arrays` holds its elements but the last one, each an array with a leading axis of steps, a
    sequence of these, or None; `regularization` is the last element, which is the same for all batches.
    """

    @property
    def arrays(self) -> Any: ...

    @property
    def regularization(self) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class DeviceUnavailable(RuntimeError):  # noqa: N818 - the name describes the state without the word error
    """The requested device or library cannot be used; the message says what is missing and how to fix it.

    Examples
    --------
    >>> from xpnet import DeviceUnavailable, get_backend
    >>> try:
    ...     backend = get_backend("cuda")
    ... except DeviceUnavailable:
    ...     backend = get_backend("cpu")
    """


class CannotCompile(RuntimeError):  # noqa: N818 - the name says what happened
    """A training step cannot be compiled; the message names what prevents it."""


class NoCompiler(CannotCompile):
    """A backend has no compiler, or packages that the compiler needs are not installed."""


def first_line(error: Exception) -> str:
    """Return the first line of an error message, which can be long."""
    return str(error).partition("\n")[0]


@dataclass(frozen=True)
class Backend(ABC):
    """One array library on one device.

    Attributes
    ----------
    device : str
        The name of the device: ``"cpu"``, ``"cuda:0"``, or the name that the library uses.
    name : str
        The import name of the array library.
    xp : module
        The array API namespace of the library.

    Examples
    --------
    >>> from xpnet import get_backend
    >>> backend = get_backend("cpu")
    >>> backend.name, backend.device
    ('numpy', 'cpu')
    >>> backend.asarray([1, 2], "float64")
    array([1., 2.])
    """

    device: str
    name: ClassVar[str]
    xp: ClassVar[Any]

    @property
    def working_memory(self) -> int:
        """The memory in bytes for all networks that train in parallel."""
        return 2**28

    @property
    def step_memory(self) -> int:
        """The memory in bytes that one of their steps should use: on a CPU the size of the cache."""
        return self.working_memory

    @classmethod
    @abstractmethod
    def open(cls, device: str) -> Self:
        """Return the backend of a device, after a test that the device can be used.

        Parameters
        ----------
        device : str
            The name of the device.

        Returns
        -------
        backend : Backend
            The backend.

        Raises
        ------
        DeviceUnavailable
            If the device cannot be used.

        Examples
        --------
        >>> from xpnet.backends import load_backend
        >>> load_backend("numpy").open("cpu").device
        'cpu'
        """

    @classmethod
    @abstractmethod
    def of(cls, array: Array) -> Self:
        """Return the backend of an array of this library.

        Parameters
        ----------
        array : array
            An array of the library.

        Returns
        -------
        backend : Backend
            The backend of the array's device.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet.backends import load_backend
        >>> load_backend("numpy").of(np.zeros(3)).device
        'cpu'
        """

    @classmethod
    @abstractmethod
    def devices(cls) -> list[str]:
        """Return the names of the devices of this machine.

        Returns
        -------
        devices : list of str
            Names that `open` takes.

        Raises
        ------
        DeviceUnavailable
            If there are none.

        Examples
        --------
        >>> from xpnet.backends import load_backend
        >>> load_backend("numpy").devices()
        ['cpu']
        """

    @abstractmethod
    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Transfer host data, or an array of this library, to the device; copy only if needed.

        Parameters
        ----------
        x : array_like
            A list, number, data frame, NumPy array, or array of this library.
        dtype : str, optional
            The data type of the result, such as ``"float32"``; by default that of x.

        Returns
        -------
        array : array
            An array of the shape of x on the device.

        Raises
        ------
        TypeError, ValueError
            If x cannot be converted to an array of numbers.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> get_backend("cpu").asarray([1, 2], "float64")
        array([1., 2.])
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> Any:
        """Transfer an array of this backend to the host; copy only if needed.

        Parameters
        ----------
        array : array
            An array on the device.

        Returns
        -------
        array : numpy.ndarray
            A NumPy array of the same shape and type.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> backend = get_backend("cpu")
        >>> backend.to_numpy(backend.asarray([1.0, 2.0]))
        array([1., 2.])
        """

    def take_rows(self, array: Array, rows: Any) -> Array:
        """Return a copy of some rows of an array of shape (..., N, n).

        Parameters
        ----------
        array : array of shape (N, n) or (E, N, n)
            The samples as rows.
        rows : host array of int of shape (m,) or (E, m)
            The numbers of the rows; with two axes, of each network.

        Returns
        -------
        taken : array of shape (..., m, n)
            The rows.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import get_backend
        >>> get_backend("cpu").take_rows(np.array([[1.0], [2.0], [3.0]]), np.array([2, 0]))
        array([[3.],
               [1.]])
        """
        xp, axes = self.xp, rows.shape
        if len(axes) > 1 and array.ndim > 2:
            # The samples of all networks are stacked below; each network has an offset.
            rows = rows + array.shape[-2] * numpy.arange(axes[0])[:, None]
        if len(axes) > 1:
            array, rows = xp.reshape(array, (-1, array.shape[-1])), rows.reshape(-1)
        integer = "int32" if math.prod(array.shape) < 2**31 else "int64"  # some devices have no 64-bit integers
        taken = xp.take(array, self.asarray(rows, integer), axis=-2)
        return xp.reshape(taken, (*axes, array.shape[-1])) if len(axes) > 1 else taken

    def read_only(self, array: Array) -> Array:
        """Return a read-only view of an array, or the array itself if the library has no read-only views.

        Parameters
        ----------
        array : array
            The array.

        Returns
        -------
        view : array
            Of the same shape.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import get_backend
        >>> get_backend("cpu").read_only(np.zeros(2)).flags.writeable
        False
        """
        return array

    def describe(self) -> str:
        """Return a short description of the device, which ``python -m xpnet`` prints.

        Returns
        -------
        description : str
            Empty by default.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> get_backend("cpu").describe()
        '... cores'
        """
        return ""

    def synchronize(self) -> None:  # noqa: B027 - most libraries have nothing to wait for
        """Wait until the device has finished all its work.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> get_backend("cpu").synchronize()
        """

    def on_device(self) -> AbstractContextManager[Any]:
        """Return the context to compute in: new arrays are on this device, and overflow is silent, as on a GPU.

        Returns
        -------
        context : context manager
            For a ``with`` statement.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> backend = get_backend("cpu")
        >>> with backend.on_device():
        ...     array = backend.xp.zeros(3)
        """
        return nullcontext()

    def compiler(self, announce: Callable[[], None] = lambda: None) -> Any:
        """Return a compiler of training steps.

        Parameters
        ----------
        announce : callable, optional
            Called before a kernel is compiled that is not in the cache, which takes seconds.

        Returns
        -------
        compiler : Compiler
            An object with the methods of `xpnet.backends.compiled.cpu_compiler.Compiler`.

        Raises
        ------
        NoCompiler
            If the backend has no compiler, or if packages that the compiler needs are not installed.

        Examples
        --------
        >>> from xpnet import get_backend
        >>> get_backend("cpu", name="array_api_strict").compiler()
        Traceback (most recent call last):
        xpnet.backends.base.NoCompiler: the backend array_api_strict has no compiler
        """
        msg = f"the backend {self.name} has no compiler"
        raise NoCompiler(msg)

    def train_epoch(self, step: Step, state: S, stacks: Iterable[Stack]) -> tuple[S, Array]:
        """Take a training step for every batch of an epoch.

        Parameters
        ----------
        step : Step
            ``step(state, batch, layers) -> (state, loss)``, which may change the arrays of the state in place.
            `layers` is ``step.layers(state.theta)``, views into the parameters.
        state : State
            The first state; its `theta` holds the parameters.
        stacks : iterable of Stack
            The batches of the epoch.

        Returns
        -------
        state : State
            The last state.
        losses : array of shape (steps, ...)
            The loss of every step, on the device.

        Examples
        --------
        A step that moves theta towards each batch:

        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> from xpnet import get_backend
        >>> class Step:
        ...     def layers(self, theta):
        ...         return None
        ...     def __call__(self, state, batch, layers=None):
        ...         return SimpleNamespace(theta=(state.theta + batch) / 2), (state.theta - batch) ** 2
        >>> state = SimpleNamespace(theta=np.asarray(0.0))
        >>> state, losses = get_backend("cpu").train_epoch(Step(), state, [[1.0, 1.0]])
        >>> float(state.theta), losses
        (0.75, array([1.  , 0.25]))
        """
        stacked: list[Array] = []
        losses: list[Array] = []
        theta, layers = None, None
        for batch in chain.from_iterable(stacks):
            if len(losses) == _LOSSES:
                stacked, losses = [*stacked, self.xp.stack(losses)], []
            # After an update in place theta is the same array, and its views stay valid. With immutable arrays every
            # step returns a new theta.
            if state.theta is not theta:
                theta, layers = state.theta, step.layers(state.theta)
            state, loss = step(state, batch, layers)
            losses.append(loss)
        # xp.stack of a single loss would take a twentieth of the time of an epoch of one step.
        last = self.xp.stack(losses) if len(losses) > 1 else losses[0][None, ...]
        return state, self.xp.concat([*stacked, last]) if stacked else last
