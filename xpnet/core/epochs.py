"""Epochs: one pass over all samples, in batches, in a given order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from xpnet._types import Array, Namespace, State, where
from xpnet.backends import Backend
from xpnet.core.step import Batch, Step
from xpnet.data.samples import BLOCK, Samples


class Masks(NamedTuple):
    """The dropout masks of an epoch: which units each sample keeps.

    Attributes
    ----------
    draw : callable
        ``draw(start, stop)`` returns for each hidden layer a host array of bool of shape (..., n, stop - start), or
        None.
    units : int
        How many random numbers are drawn for each sample and network.
    """

    draw: Callable[[int, int], Sequence[Any]]
    units: int


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch: iterating yields a `Batch` for each step.

    Iteration gathers and casts samples lazily, so that a backend that compiles a whole epoch can gather them itself. It
    gathers only some batches at a time, because copies of all samples may not fit into memory.

    Attributes
    ----------
    samples : Samples
        The training samples.
    learning_rate : array of shape () or (..., 1)
        One for all networks, or one for each.
    batch_size : int
        The number of samples of a step, at most N; the last step takes the remaining samples.
    networks : tuple
        The index of the networks that train, for samples that differ between networks.
    order : host array of int of shape (N,) or (E, N), optional
        A permutation of the samples for all networks, or one for each. By default the order of the rows.
    factors : host array of shape (steps,) or (steps, E), optional
        The factor on the learning rate in each step.
    masks : Masks, optional
        The dropout masks.
    regularization : mapping of str to float or array of shape (E, 1)
        The strengths of the regularization, as `regularized` takes them.
    """

    samples: Samples
    learning_rate: Array
    batch_size: int
    networks: tuple[Any, ...] = (...,)
    order: Any = None
    factors: Any = None
    masks: Masks | None = None
    regularization: Mapping[str, float | Array] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """The number of batches."""
        return -(-self.samples.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        N, at_once = self.samples.size, self.samples_at_once
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
                        self.regularization,
                    )

    def mean(self, losses: Array) -> Array:
        """Return the mean loss over all samples, of shape (...), given the losses of the steps, (steps, ...)."""
        xp, N, m = self.samples.backend.xp, self.samples.size, self.batch_size
        if m == N:
            return losses[0, ...]
        full, left = divmod(N, m)
        loss = xp.sum(losses[:full, ...] * (m / N), axis=0)
        return loss + losses[full, ...] * (left / N) if left else loss

    @property
    def samples_at_once(self) -> int:
        """How many samples to gather at a time: a multiple of the batch size, or all if they take little memory."""
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
    def _all(self) -> list[tuple[Any, ...]]:
        return self._stacks(0, self.samples.size)

    def _stacks(self, start: int, stop: int) -> list[tuple[Any, ...]]:
        """The full batches of samples start to stop, then a smaller last one, each stacked along an axis of steps."""
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
class NetworkChunk:
    """Networks that train together, and their current state.

    Attributes
    ----------
    backend : Backend
        Where all arrays are.
    step : Step
        Their training step.
    batches : callable
        ``batches(epoch)`` returns the batches of an epoch, counted from 0 since the weights were initialized.
    state : State
        The state after the last epoch. A network that diverged keeps its last finite state.
    finite : array of bool of shape (...), or True
        Which networks have not diverged.
    loss : array of shape (...)
        The loss of each sample before the step that used it, averaged over the last epoch; NaN for networks that
        diverged.
    compiler : Compiler, optional
        What takes the steps through compiled code; by default the backend takes them one by one.
    """

    backend: Backend
    step: Step
    batches: Callable[[int], Batches]
    state: State
    finite: Array | bool = True
    loss: Array = None
    compiler: Any = None

    def train_epoch(self, epoch: int) -> None:
        """Train for one epoch, without waiting for the device."""
        xp, batches, before = self.backend.xp, self.batches(epoch), self.state
        # The steps change a copy, so that callbacks, other threads and Ctrl-C see the state before the epoch.
        if self.compiler:
            working, loss = self.compiler.train_epoch(self.step, before.copy(xp), batches)
        else:
            working, losses = self.backend.train_epoch(self.step, before.copy(xp), batches)
            loss = batches.mean(losses)
        arrays = [working.theta, *working.optimizer_state]
        for array in (loss, *arrays):
            axes = tuple(range(loss.ndim, array.ndim))
            self.finite = self.finite & (xp.all(xp.isfinite(array), axis=axes) if axes else xp.isfinite(array))
        del working, array
        # Pop the arrays one by one, so that each is freed as soon as its successor exists.
        kept = [where(xp, self.finite, arrays.pop(0), old) for old in (before.theta, *before.optimizer_state)]
        self.state = State(kept[0], tuple(kept[1:]))
        self.loss = xp.where(self.finite, loss, xp.nan)


def split(xp: Namespace, X: Array, batch_size: int) -> list[Array]:
    """Split samples of shape (..., n, N) into batches, as views where the library supports them.

    Returns
    -------
    stacks : list of arrays
        The full batches, of shape (N // m, ..., n, m), and if N is not a multiple of the batch size m the smaller last
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
