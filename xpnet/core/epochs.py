"""Epochs: every sample once, in batches, in some order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xpnet._types import Array, Namespace, State
from xpnet.backends import HOST, Backend
from xpnet.core.step import Batch, Step


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch: iterating yields a `Batch` for each step.

    Samples are gathered in their order only when that begins, so that a backend that takes a whole epoch at once can do
    it in its own way.

    Attributes
    ----------
    backend : Backend
        Where the arrays live, but for those of the host.
    X : array of shape (..., n_0, N)
        The samples. Without leading axes an ensemble shares them.
    Y : array of shape (..., n_L, N)
        The targets.
    weight : array of shape (..., 1, N) or None
        How much each sample counts, 1 on average.
    learning_rate : array of shape () or (..., 1)
        One for all networks, or one for each.
    batch_size : int
        The samples of a step, at most N; the last step takes what is left.
    order : host array of int of shape (N,) or (E, N), optional
        A permutation of the samples for all networks, or one for each. Without it they are taken as they come.
    factors : host array of shape (steps,) or (steps, E), optional
        What to multiply the learning rate with in each step.
    masks : sequence of host arrays of bool of shape (..., n, N), or None
        For each hidden layer which units dropout leaves in; empty without dropout.
    """

    backend: Backend
    X: Array
    Y: Array
    weight: Array | None
    learning_rate: Array
    batch_size: int
    order: Any = None
    factors: Any = None
    masks: Sequence[Any] = ()

    @property
    def steps(self) -> int:
        """How many batches there are."""
        return int(-(-self.X.shape[-1] // self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for X, Y, learning_rate, weight, masks in self._stacks:
            for i in range(X.shape[0]):
                yield (
                    X[i, ...],
                    Y[i, ...],
                    learning_rate[i, ...],
                    None if weight is None else weight[i, ...],
                    [mask if mask is None else mask[i, ...] for mask in masks] if masks else (),
                )

    def mean(self, losses: Array) -> Array:
        """Return the loss of the epoch, of shape (...), from those of its steps, (steps, ...): that of all samples."""
        xp, N, m = self.backend.xp, self.X.shape[-1], self.batch_size
        if m == N:
            return losses[0, ...]
        full, left = divmod(N, m)
        loss = xp.sum(losses[:full, ...] * (m / N), axis=0)
        return loss + losses[full, ...] * (left / N) if left else loss

    @cached_property
    def _stacks(self) -> list[Batch]:
        """The full batches one after the other, and the last one where it is smaller, each with an axis of steps."""
        backend, xp, rates = self.backend, self.backend.xp, self.learning_rate
        columns = [self.X, self.Y, self.weight]
        if self.order is not None:
            columns = self._ordered(columns)
        columns += [mask if mask is None else backend.asarray(mask) for mask in self.masks]
        if self.factors is None:
            rates = xp.broadcast_to(rates, (self.steps, *rates.shape))
        else:
            factors = backend.asarray(self.factors)
            rates = rates * xp.reshape(factors, factors.shape + (1,) * (rates.ndim + 1 - factors.ndim))
        full, left = divmod(self.X.shape[-1], self.batch_size)
        parts = [slice(full)] * bool(full) + [slice(full, None)] * bool(left)
        stacks = [[None] * len(parts) if array is None else split(xp, array, self.batch_size) for array in columns]
        return [
            (X, Y, rates[steps, ...], weight, masks) for steps, X, Y, weight, *masks in zip(parts, *stacks, strict=True)
        ]

    def _ordered(self, columns: Sequence[Array | None]) -> list[Array | None]:
        """Return samples of shape (..., n, N) in their order."""
        backend, xp, order, N = self.backend, self.backend.xp, self.order, self.X.shape[-1]
        integer = "int32" if order.size < 2**31 else "int64"  # not every device has 64 bits
        shared = own = backend.asarray(order, integer)
        if order.ndim > 1 and any(array is not None and array.ndim == 3 for array in columns):
            # All samples one after the other, those of each network from a place of its own on.
            own = backend.asarray(order + N * HOST.asarray(range(order.shape[0]))[:, None], integer)

        def ordered(array: Array) -> Array:
            rows = array.mT  # which lie together in memory when the samples came one a row
            if order.ndim == 1:
                return xp.take(rows, shared, axis=-2).mT
            indices, n = (own if rows.ndim == 3 else shared), rows.shape[-1]
            taken = xp.take(xp.reshape(rows, (-1, n)), xp.reshape(indices, (-1,)), axis=0)
            return xp.reshape(taken, (*order.shape, n)).mT

        return [None if array is None else ordered(array) for array in columns]


@dataclass
class Part:
    """Networks that train together, and how far they have come.

    Attributes
    ----------
    backend : Backend
        Where all the arrays live.
    step : Step
        The step that they take.
    batches : callable
        ``batches(epoch)``, what they learn from in an epoch, counted from when the weights were drawn.
    working : State
        What the next step works with; its arrays belong to it.
    state : State
        The state after the last epoch. A network whose loss or parameters are no longer finite stays as it was before.
    finite : array of bool of shape (...), or True
        Which networks are finite still.
    loss : array of shape (...)
        The loss of each sample before the step that learned from it, averaged over the last epoch; NaN for networks
        that are not finite.
    """

    backend: Backend
    step: Step
    batches: Callable[[int], Batches]
    working: State
    state: State
    finite: Array | bool = True
    loss: Array = None

    def train_epoch(self, epoch: int) -> None:
        """Train for one epoch, without waiting for the device."""
        xp, batches = self.backend.xp, self.batches(epoch)
        self.working, losses = self.backend.train_epoch(self.step, self.working, batches)
        loss = batches.mean(losses)
        for array in (loss, self.working.theta, *self.working.optimizer_state):
            axes = tuple(range(loss.ndim, array.ndim))
            self.finite = self.finite & (xp.all(xp.isfinite(array), axis=axes) if axes else xp.isfinite(array))
        self.state = self.working.where(xp, self.finite, self.state)
        self.loss = xp.where(self.finite, loss, xp.nan)


def split(xp: Namespace, X: Array, batch_size: int) -> list[Array]:
    """Cut samples of shape (..., n, N) into batches, as views where the library has them.

    Returns
    -------
    stacks : list of arrays
        The full batches, of shape (N // m, ..., n, m), and where N is no multiple of the batch size m the last, smaller
        one, of shape (1, ..., n, N % m).
    """
    N = X.shape[-1]
    m = min(batch_size, N)
    stacks = []
    for start, stop, size in ((0, N - N % m, m), (N - N % m, N, N % m)):
        if start < stop:
            batches = xp.reshape(X[..., start:stop], (*X.shape[:-1], (stop - start) // size, size))
            stacks.append(xp.moveaxis(batches, -2, 0))
    return stacks
