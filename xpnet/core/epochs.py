"""Epochs: one pass over all samples, in batches, in a given order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from xpnet._types import Array, Namespace, State, where
from xpnet.backends import HOST, Backend, streams
from xpnet.core.step import Batch, Step
from xpnet.data.samples import BLOCK, Samples


@dataclass(frozen=True, eq=False)
class Masks:
    """The dropout masks of a training: which units each sample keeps in each epoch.

    Attributes
    ----------
    keys : array of uint32 of shape (E or 1, 2)
        The keys of the networks' random numbers, or of all networks.
    layers : sequence of (int, float)
        The number of units and the dropout rate of each hidden layer.
    """

    keys: Any
    layers: Sequence[tuple[int, float]]

    @property
    def units(self) -> int:
        """The number of units of all layers with dropout."""
        return sum(n for n, rate in self.layers if rate)

    def draw(self, epoch: int, start: int, stop: int) -> list[Any]:
        """Return for each hidden layer a host array of bool of shape (..., n, stop - start), or None."""
        keys, masks = streams.epoch_keys(self.keys, epoch), []
        for l, (n, rate) in enumerate(self.layers):
            kept = streams.keep_mask(keys, start, stop, l, n, rate).mT if rate else None
            masks.append(kept[0] if kept is not None and len(kept) == 1 else kept)
        return masks


class Orders:
    """The rows of the samples that each epoch takes, in order, from a function.

    Parameters
    ----------
    draw : callable
        ``draw(epoch)`` returns an array of int of shape (rows,), or (E, rows) for the networks of an ensemble: of the
        same shape in every epoch. It is called once for each epoch.
    samples : int
        The number of samples.
    ensemble : int or None
        The number of networks.
    epoch : int
        The first epoch.

    Attributes
    ----------
    epoch : int
        The last epoch for which the function was called.
    shape : tuple of int
        The shape of the arrays that it returns.

    Raises
    ------
    TypeError, ValueError
        If the function returns something else.
    """

    def __init__(self, draw: Callable[[int], Any], samples: int, ensemble: int | None, epoch: int) -> None:
        self._draw, self._samples, self._ensemble = draw, samples, ensemble
        self.epoch, self._order = epoch, self._checked(draw(epoch))
        self.shape: tuple[int, ...] = self._order.shape

    def of(self, epoch: int, networks: tuple[Any, ...] = (...,)) -> Any:
        """Return the rows of an epoch, a host array of shape (rows,) or (networks, rows)."""
        if epoch != self.epoch:
            order = self._checked(self._draw(epoch))
            if order.shape != self.shape:
                msg = f"orders must return the same shape for all epochs, got {order.shape} after {self.shape}"
                raise ValueError(msg)
            self.epoch, self._order = epoch, order
        return self._order[networks] if len(self.shape) > 1 else self._order

    def _checked(self, order: Any) -> Any:
        order = HOST.asarray(order)
        shapes = [1] if self._ensemble is None else [1, 2]
        networks = order.shape[0] if order.ndim == 2 else self._ensemble
        if order.ndim not in shapes or networks != self._ensemble or order.size == 0:
            expected = "(rows,)" + f" or ({self._ensemble}, rows)" * (self._ensemble is not None)
            msg = f"orders must return an array of shape {expected}, got {order.shape}"
            raise ValueError(msg)
        if not HOST.xp.isdtype(order.dtype, "integral"):
            msg = f"orders must return integers, the numbers of rows of X, got {order.dtype}"
            raise TypeError(msg)
        if order.min() < 0 or order.max() >= self._samples:
            msg = f"orders must return rows from 0 to {self._samples - 1}, got {order.min()} to {order.max()}"
            raise ValueError(msg)
        return order


@dataclass(frozen=True, eq=False)
class Stack:
    """Batches of equal size; iterating over it yields a `Batch` for each step.

    Attributes
    ----------
    arrays : tuple
        The parts of the batches without the last one, stacked along a leading axis of steps.
    regularization : mapping of str to float or array
        The last part of each batch.
    """

    arrays: tuple[Array, Array, Array, Array | None, Sequence[Array | None]]
    regularization: Mapping[str, float | Array]

    def __iter__(self) -> Iterator[Batch]:
        X, Y, learning_rates, weight, masks = self.arrays
        for i in range(X.shape[0]):
            yield (
                X[i, ...],
                Y[i, ...],
                learning_rates[i, ...],
                None if weight is None else weight[i, ...],
                [mask if mask is None else mask[i, ...] for mask in masks] if masks else (),
                self.regularization,
            )


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a training: `epoch` yields those of one epoch, stacked.

    Samples are gathered and cast lazily and only some batches at a time, because copies of all samples may not fit into
    memory.

    Attributes
    ----------
    samples : Samples
        The training samples.
    learning_rate : array of shape () or (..., 1)
        One for all networks, or one for each.
    batch_size : int
        The number of samples of a step, at most N; the last step takes the remaining samples.
    networks : tuple
        The index of the networks that train, for what differs between networks.
    order_keys : array of uint32 of shape (E or 1, 2), optional
        The keys of the permutations of the samples, one for each network or for all. By default the samples are not
        shuffled.
    orders : Orders, optional
        The rows that each epoch takes, in place of `order_keys`.
    masks : Masks, optional
        The dropout masks.
    regularization : mapping of str to float or array
        The arguments of `regularized`.
    """

    samples: Samples
    learning_rate: Array
    batch_size: int
    networks: tuple[Any, ...] = (...,)
    order_keys: Any = None
    orders: Orders | None = None
    masks: Masks | None = None
    regularization: Mapping[str, float | Array] = field(default_factory=dict)

    def epoch(self, epoch: int, factors: Any = None) -> Iterator[Stack]:
        """Yield the batches of an epoch, counted from 0 since the weights were initialized, in as few stacks as fit.

        Parameters
        ----------
        epoch : int
            The epoch.
        factors : host array of shape (steps,) or (steps, E), optional
            The factor on the learning rate in each step.
        """
        N, at_once, order = self.size, self.samples_at_once, self.order(epoch)
        for start in range(0, N, at_once):
            stop = min(start + at_once, N)
            constant = order is None and self.masks is None and at_once == N
            stacks = self._all if constant else self._stacks(start, stop, order, epoch)
            for first, X, Y, weight, masks in stacks:
                yield Stack((X, Y, self._rates(first, X.shape[0], factors), weight, masks), self.regularization)

    @property
    def size(self) -> int:
        """The number of samples that an epoch takes."""
        return self.samples.size if self.orders is None else self.orders.shape[-1]

    def order(self, epoch: int, permutations: Callable[[Any, int], Any] = streams.permutations) -> Any:
        """Return the order of the samples in an epoch, a host array of shape (N,) or (E, N), or None."""
        if self.orders is not None:
            return self.orders.of(epoch, self.networks)
        if self.order_keys is None:
            return None
        orders = permutations(streams.epoch_keys(self.order_keys, epoch), self.samples.size)
        return orders[0] if len(orders) == 1 else orders

    def mean(self, losses: Array) -> Array:
        """Return the mean loss over all samples, of shape (...), given the losses of the steps, (steps, ...)."""
        xp, N, m = self.samples.backend.xp, self.size, self.batch_size
        if m == N:
            return losses[0, ...]
        full, left = divmod(N, m)
        loss = xp.sum(losses[:full, ...] * (m / N), axis=0)
        return loss + losses[full, ...] * (left / N) if left else loss

    @property
    def samples_at_once(self) -> int:
        """How many samples to gather at a time: a multiple of the batch size, or all if they take little memory."""
        samples, N, m = self.samples, self.size, self.batch_size
        in_order = self.order_keys is None and self.orders is None
        if in_order and self.masks is None and samples.are_ready:
            return N
        rates = self.learning_rate
        numbers = samples.X.shape[-1] + samples.outputs + (0 if self.masks is None else 2 * self.masks.units)
        shared = in_order or (len(self.orders.shape) == 1 if self.orders else len(self.order_keys) == 1)
        each = not shared or samples.X.ndim > 2 or samples.Y.ndim > 2
        networks = rates.shape[0] if rates.ndim and each else 1
        batches = max(BLOCK // int(8 * numbers * networks * m), 1)
        return min(batches * m, N)

    @cached_property
    def _all(self) -> list[tuple[Any, ...]]:
        return self._stacks(0, self.samples.size, None, 0)

    def _stacks(self, start: int, stop: int, order: Any, epoch: int) -> list[tuple[Any, ...]]:
        """The full batches of samples start to stop, then a smaller last one, each stacked along an axis of steps."""
        backend, xp, m = self.samples.backend, self.samples.backend.xp, self.batch_size
        columns = list(
            self.samples.columns(slice(start, stop) if order is None else order[..., start:stop], self.networks)
        )
        if self.masks is not None:
            drawn = self.masks.draw(epoch, start, stop)
            columns += [mask if mask is None else backend.asarray(mask) for mask in drawn]
        full, left = divmod(stop - start, m)
        first = [start // m] * bool(full) + [start // m + full] * bool(left)
        stacks = [[None] * len(first) if array is None else split(xp, array, m) for array in columns]
        return [(step, X, Y, weight, masks) for step, X, Y, weight, *masks in zip(first, *stacks, strict=True)]

    def _rates(self, first: int, steps: int, factors: Any) -> Array:
        """Return the learning rates of some steps, of shape (steps, ...)."""
        xp, rate = self.samples.backend.xp, self.learning_rate
        if factors is None:
            return xp.broadcast_to(rate, (steps, *rate.shape))
        factors = self.samples.backend.asarray(factors[first : first + steps, ...])
        return rate * xp.reshape(factors, factors.shape + (1,) * (rate.ndim + 1 - factors.ndim))


@dataclass
class NetworkChunk:
    """Networks that train together, and their current state.

    Attributes
    ----------
    backend : Backend
        Where all arrays are.
    step : Step
        Their training step.
    batches : Batches
        Their batches.
    state : State
        The state after the last epoch. A network that diverged keeps its last finite state.
    finite : array of bool of shape (...), or True
        Which networks have not diverged.
    losses : array of shape (epochs, ...)
        The loss of each sample before the step that used it, averaged over each of the last epochs; NaN for networks
        that diverged.
    compiled : CompiledTraining, optional
        What takes the steps through compiled code; by default the backend takes them one by one.
    """

    backend: Backend
    step: Step
    batches: Batches
    state: State
    finite: Array | bool = True
    losses: Array = None
    compiled: Any = None

    @property
    def epochs_at_once(self) -> int:
        """How many epochs `train` can train for at once, without delaying Ctrl-C noticeably."""
        return self.compiled.epochs_at_once if self.compiled else 1

    def train(self, epochs: range, factors: Any = None) -> None:
        """Train for one epoch, or with compiled code for one or more, without waiting for the device.

        Parameters
        ----------
        epochs : range
            The epochs, counted from 0 since the weights were initialized.
        factors : host array of shape (steps,) or (steps, E), optional
            The factor on the learning rate in each step, for all networks or for each one of the ensemble.
        """
        if factors is not None and factors.ndim > 1:
            factors = factors[:, *self.batches.networks]
        if self.compiled:
            self.state, self.finite, self.losses = self.compiled.train(self.state, self.finite, epochs, factors)
        else:
            (epoch,) = epochs
            self._train(epoch, factors)

    def _train(self, epoch: int, factors: Any) -> None:
        xp, before = self.backend.xp, self.state
        # The steps change a copy, so that callbacks, other threads and Ctrl-C see the state before the epoch.
        working, losses = self.backend.train_epoch(self.step, before.copy(xp), self.batches.epoch(epoch, factors))
        loss, arrays = self.batches.mean(losses), [working.theta, *working.optimizer_state]
        for array in (loss, *arrays):
            axes = tuple(range(loss.ndim, array.ndim))
            self.finite = self.finite & (xp.all(xp.isfinite(array), axis=axes) if axes else xp.isfinite(array))
        del working, array
        # Pop the arrays one by one, so that each is freed as soon as its successor exists.
        kept = [where(xp, self.finite, arrays.pop(0), old) for old in (before.theta, *before.optimizer_state)]
        self.state = State(kept[0], tuple(kept[1:]))
        self.losses = xp.where(self.finite, loss, xp.nan)[None, ...]


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
    if m == N:
        return [X[None, ...]]
    stacks = []
    for start, stop, size in ((0, N - N % m, m), (N - N % m, N, N % m)):
        if start < stop:
            batches = xp.reshape(X[..., start:stop], (*X.shape[:-1], (stop - start) // size, size))
            stacks.append(xp.moveaxis(batches, -2, 0))
    return stacks
