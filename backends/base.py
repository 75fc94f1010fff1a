"""The contract of a backend.

A backend is one array library on one device, and knows no mathematics::

    name, xp, device               who it is, its array API namespace, where its arrays live
    asarray, to_numpy              the only host–device transfers
    take_rows                      gather samples
    synchronize                    wait until the device has done what it was asked to do
    train_epoch                    take the step for every batch of an epoch
    on_device                      the context to compute in, with its device the current one
    working_memory, step_memory    how many bytes many networks may take together, and in a step

A new backend is a subclass: it sets `name` and `xp`, and writes `open`, `of`, `devices` and the two transfers.
`train_epoch` is the place to be clever, for there alone a backend sees the whole loop.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

import numpy

Array: TypeAlias = Any
S = TypeVar("S", bound=Any)


_LOSSES = 10_000  # to keep apart at most: as objects of their own they take fifty times as much as in an array


class Step(Protocol):
    """What a backend knows of a training step."""

    def layers(self, theta: Array) -> Any:
        """Return the views into the parameters that a step works with."""

    def __call__(self, state: Any, batch: Any, layers: Any = None) -> Any:
        """Return the next state, and the loss."""


class DeviceUnavailable(RuntimeError):  # noqa: N818 - it says what is the matter, without the word error
    """A device or library that was asked for cannot be used here; the message says what is missing and the fix."""


def first_line(error: Exception) -> str:
    """Return the beginning of what a library complains of, which may go on for pages."""
    return str(error).partition("\n")[0]


@dataclass(frozen=True)
class Backend(ABC):
    """One array library on one device.

    Attributes
    ----------
    device : str
        What people call the device: ``"cpu"``, ``"cuda:0"``, or the library's own name for it.
    name : str
        The import name of the array library.
    xp : module
        Its array API namespace.
    """

    device: str
    name: ClassVar[str]
    xp: ClassVar[Any]

    @property
    def working_memory(self) -> int:
        """How many bytes the networks that train at once may take together."""
        return 2**28

    @property
    def step_memory(self) -> int:
        """How many bytes a step of theirs should be content with: on a CPU, what its cache holds."""
        return self.working_memory

    @classmethod
    @abstractmethod
    def open(cls, device: str) -> Self:
        """Make sure that the device can be used, and return its backend; raise `DeviceUnavailable` if it cannot."""

    @classmethod
    @abstractmethod
    def of(cls, array: Array) -> Self:
        """Return the backend where an array of this library lives."""

    @classmethod
    @abstractmethod
    def devices(cls) -> list[str]:
        """Return the names of the devices here; raise `DeviceUnavailable` if there are none."""

    @abstractmethod
    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Bring host data, or an array of this library, to the device; copy only where needed."""

    @abstractmethod
    def to_numpy(self, array: Array) -> Any:
        """Bring an array of this backend to the host, as a NumPy array; copy only where needed."""

    def take_rows(self, array: Array, rows: Any) -> Array:
        """Return some rows of an array of shape (..., N, n).

        Parameters
        ----------
        array : array of shape (N, n) or (E, N, n)
            What to take from.
        rows : host array of int of shape (m,) or (E, m)
            Which rows; two axes have some for each network.

        Returns
        -------
        taken : array of shape (..., m, n)
            A copy.
        """
        xp, axes = self.xp, rows.shape
        if len(axes) > 1 and array.ndim > 2:
            # All samples one after the other, those of each network from a place of its own on.
            rows = rows + array.shape[-2] * numpy.arange(axes[0])[:, None]
        if len(axes) > 1:
            array, rows = xp.reshape(array, (-1, array.shape[-1])), rows.reshape(-1)
        integer = "int32" if math.prod(array.shape) < 2**31 else "int64"  # not every device has 64 bits
        taken = xp.take(array, self.asarray(rows, integer), axis=-2)
        return xp.reshape(taken, (*axes, array.shape[-1])) if len(axes) > 1 else taken

    def read_only(self, array: Array) -> Array:
        """Return an array that cannot be written to and shows the same memory, where the library has that."""
        return array

    def describe(self) -> str:
        """Return a few words on the device, for people."""
        return ""

    def synchronize(self) -> None:  # noqa: B027 - most libraries have nothing to wait for
        """Wait until all work given to the device is done."""

    def on_device(self) -> AbstractContextManager[Any]:
        """Return the context to compute in: new arrays are made on this device, and overflow is silent as on a GPU."""
        return nullcontext()

    def train_epoch(self, step: Step, state: S, batches: Iterable[Any]) -> tuple[S, Array]:
        """Take the step for every batch of an epoch, handing the state on.

        Parameters
        ----------
        step : Step
            ``step(state, batch, layers) -> (state, loss)``; it owns the arrays of the state and may change them in
            place. `layers` is ``step.layers(state.theta)``, views into the parameters.
        state : State
            What a step hands to the next: its `theta` are the parameters.
        batches : Batches
            What each step takes. It may be iterated over, or taken apart: it has the samples as rows in the types in
            which they came, their order, the learning rates and what draws the masks of dropout, and has gathered
            nothing before it is iterated over.

        Returns
        -------
        state : State
            The last state.
        losses : array of shape (steps, ...)
            The loss of every step, still on the device.
        """
        stacks: list[Array] = []
        losses: list[Array] = []
        theta, layers = None, None
        for batch in batches:
            if len(losses) == _LOSSES:
                stacks, losses = [*stacks, self.xp.stack(losses)], []
            # An update in place hands the same vector on, with its views as good as before. Where arrays are immutable,
            # every step brings a new vector.
            if state.theta is not theta:
                theta, layers = state.theta, step.layers(state.theta)
            state, loss = step(state, batch, layers)
            losses.append(loss)
        # Stacking a single loss would take a twentieth of an epoch of one step.
        last = self.xp.stack(losses) if len(losses) > 1 else losses[0][None, ...]
        return state, self.xp.concat([*stacks, last]) if stacks else last
