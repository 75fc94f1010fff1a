"""Epochs: every sample once, in batches, in some order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from xpnet._types import Array, Namespace, State, where
from xpnet.backends import Backend
from xpnet.core.step import Batch, Step
from xpnet.data.samples import BLOCK, Samples


class Masks(NamedTuple):
    """Which units dropout leaves in for the samples of an epoch.

    Attributes
    ----------
    draw : callable
        ``draw(start, stop)``, for each hidden layer a host array of bool of shape (..., n, stop - start), or None.
    units : int
        How many numbers are drawn for a sample of one network.
    """

    draw: Callable[[int, int], Sequence[Any]]
    units: int


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch: iterating yields a `Batch` for each step.

    Samples are gathered in their order, and made ready to compute with, only when that begins, so that a backend that
    takes a whole epoch at once can do it in its own way; and only some batches at a time, for copies of all samples may
    not fit into memory.

    Attributes
    ----------
    samples : Samples
        What there is to learn from.
    learning_rate : array of shape () or (..., 1)
        One for all networks, or one for each.
    batch_size : int
        The samples of a step, at most N; the last step takes what is left.
    networks : tuple
        The index of the networks that learn, where each has samples of its own.
    order : host array of int of shape (N,) or (E, N), optional
        A permutation of the samples for all networks, or one for each. Without it they are taken as they come.
    factors : host array of shape (steps,) or (steps, E), optional
        What to multiply the learning rate with in each step.
    masks : Masks, optional
        Which units dropout leaves in.
    """

    samples: Samples
    learning_rate: Array
    batch_size: int
    networks: tuple[Any, ...] = (...,)
    order: Any = None
    factors: Any = None
    masks: Masks | None = None

    @property
    def steps(self) -> int:
        """How many batches there are."""
        return -(-self.samples.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        N, at_once = self.samples.size, self._at_once
        for start in range(0, N, at_once):
            stacks = self._all if at_once == N else self._stacks(start, min(start + at_once, N))
            for X, Y, learning_rate, weight, masks in stacks:
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
        xp, N, m = self.samples.backend.xp, self.samples.size, self.batch_size
        if m == N:
            return losses[0, ...]
        full, left = divmod(N, m)
        loss = xp.sum(losses[:full, ...] * (m / N), axis=0)
        return loss + losses[full, ...] * (left / N) if left else loss

    @property
    def _at_once(self) -> int:
        """How many samples to gather at a time: whole batches of them, or all where that takes little memory."""
        samples, N, m = self.samples, self.samples.size, self.batch_size
        if self.order is None and self.masks is None and samples.are_ready:
            return N
        rates = self.learning_rate
        numbers = samples.X.shape[-1] + samples.outputs + (0 if self.masks is None else 2 * self.masks.units)
        each = self.order is None or self.order.ndim > 1 or samples.X.ndim > 2 or samples.Y.ndim > 2
        networks = rates.shape[0] if rates.ndim and each else 1
        batches = max(BLOCK // int(8 * numbers * networks * m), 1)
        return min(batches * m, N)

    @cached_property
    def _all(self) -> list[Batch]:
        return self._stacks(0, self.samples.size)

    def _stacks(self, start: int, stop: int) -> list[Batch]:
        """The full batches of some samples, and the last one where it is smaller, each stack with an axis of steps."""
        backend, xp, m = self.samples.backend, self.samples.backend.xp, self.batch_size
        which = slice(start, stop) if self.order is None else self.order[..., start:stop]
        columns = list(self.samples.columns(which, self.networks))
        if self.masks is not None:
            columns += [mask if mask is None else backend.asarray(mask) for mask in self.masks.draw(start, stop)]
        rates, first, last = self.learning_rate, start // m, -(-stop // m)
        if self.factors is None:
            rates = xp.broadcast_to(rates, (last - first, *rates.shape))
        else:
            factors = backend.asarray(self.factors[first:last, ...])
            rates = rates * xp.reshape(factors, factors.shape + (1,) * (rates.ndim + 1 - factors.ndim))
        full, left = divmod(stop - start, m)
        parts = [slice(full)] * bool(full) + [slice(full, None)] * bool(left)
        stacks = [[None] * len(parts) if array is None else split(xp, array, m) for array in columns]
        return [
            (X, Y, rates[steps, ...], weight, masks) for steps, X, Y, weight, *masks in zip(parts, *stacks, strict=True)
        ]


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
    state: State
    finite: Array | bool = True
    loss: Array = None

    def train_epoch(self, epoch: int) -> None:
        """Train for one epoch, without waiting for the device."""
        xp, batches, before = self.backend.xp, self.batches(epoch), self.state
        # Whoever looks meanwhile, or after Ctrl-C, finds the state from before, so that the steps work with a copy.
        working, losses = self.backend.train_epoch(self.step, before.copy(xp), batches)
        loss = batches.mean(losses)
        arrays = [working.theta, *working.optimizer_state]
        for array in (loss, *arrays):
            axes = tuple(range(loss.ndim, array.ndim))
            self.finite = self.finite & (xp.all(xp.isfinite(array), axis=axes) if axes else xp.isfinite(array))
        del working, array
        # One array after the other, each of which goes as soon as what is kept of it is there.
        kept = [where(xp, self.finite, arrays.pop(0), old) for old in (before.theta, *before.optimizer_state)]
        self.state = State(kept[0], tuple(kept[1:]))
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
