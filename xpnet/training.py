"""Training: the step, and the epochs that repeat it.

A step is a pure function ``step(state, (X, Y, learning_rate)) -> (state, loss)`` that can be traced: shapes are static,
no branch looks at a value, and what changes from step to step is an input. The state is a pair: the parameter vector
theta, and the tuple of arrays that the optimizer remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.backends import Backend
from xpnet.backends.base import State, Step
from xpnet.losses import Loss, fuse, mean_loss
from xpnet.optimizers import Optimizer
from xpnet.parameters import Layout, flatten
from xpnet.propagation import backward, forward

Batches: TypeAlias = list[tuple[Array, ...]]


def loss_gradient(
    xp: Namespace,
    X: Array,
    Y: Array,
    layers: Layers,
    activations: Sequence[Activation],
    loss: Loss,
    *,
    input_gradient: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Go forward, take the loss, and go backward.

    Returns
    -------
    value : array of shape (...)
        The loss averaged over the samples.
    dtheta : array of shape (..., P)
        Its gradient with respect to the parameters.
    dX : array of shape (..., n_0, m) or None
        Its gradient with respect to the samples, where `input_gradient` asks for it.
    """
    A, cache = forward(xp, X, layers, activations)
    value, dA = mean_loss(xp, loss, A, Y)
    gradients = backward(xp, dA, A, cache, activations, input_gradient=input_gradient)
    dtheta = flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])
    return value, dtheta, gradients[0][0]


def make_step(
    xp: Namespace, layout: Layout, activations: Sequence[Activation], loss: Loss, optimizer: Optimizer
) -> Step:
    """Return the step that trains a network on one batch: forward, loss, backward, update.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    layout : Layout
        Where the weights and biases lie in theta.
    activations : sequence of Activation
        One a layer.
    loss : Loss
        What to make small.
    optimizer : Optimizer
        How theta follows its gradient.

    Returns
    -------
    step : callable
        ``step(state, (X, Y, learning_rate)) -> (state, loss)`` with X of shape (..., n_0, m), Y of shape (..., n_L, m),
        a learning rate that broadcasts against theta, and the loss before the update, of shape (...).
    """
    activations, loss = fuse(activations, loss)
    viewed: tuple[Array, Layers] = (None, [])

    def step(state: State, batch: Sequence[Array]) -> tuple[State, Array]:
        nonlocal viewed
        theta, memory = state
        X, Y, learning_rate = batch
        # An update in place hands the same vector on, with its views as good as before: making them anew at every
        # step would take a fifth of it. Where arrays are immutable, every step brings a new vector.
        views = viewed
        if theta is not views[0]:
            viewed = views = (theta, layout.layers(xp, theta))
        value, dtheta, _ = loss_gradient(xp, X, Y, views[1], activations, loss)
        return optimizer.update(xp, theta, dtheta, memory, learning_rate), value

    return step


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


def _inputs(xp: Namespace, X: Array, Y: Array, rates: Array, batch_size: int) -> Batches:
    """Return X, Y and the learning rates for each stack of batches; the rates have the shape (steps, ...)."""
    X_stacks, Y_stacks = split(xp, X, batch_size), split(xp, Y, batch_size)
    full = X_stacks[0].shape[0]
    return list(zip(X_stacks, Y_stacks, (rates[:full, ...], rates[full:, ...]), strict=False))


def rehearse(xp: Namespace, step: Step, state: State, batch: Sequence[Array]) -> None:
    """Take a step and forget it, to find parts that break their contract before anything has changed.

    Raises
    ------
    ValueError
        If what the step answers has another shape or type than it should, as a user's own loss or optimizer may cause.
    """
    theta, memory = state
    (new_theta, new_memory), loss = step(copy_state(xp, state), batch)
    if len(new_memory) != len(memory):
        msg = f"the optimizer's update must answer a memory of {len(memory)} arrays as its init, not {len(new_memory)}"
        raise ValueError(msg)
    pairs = [("theta of the optimizer's update", new_theta, theta)]
    pairs += [("memory of the optimizer's update", new, old) for new, old in zip(new_memory, memory, strict=True)]
    pairs += [("mean of the loss's value, which is one number a sample,", loss, theta[..., 0])]
    for what, came, expected in pairs:
        if came.shape != expected.shape or came.dtype != expected.dtype:
            msg = (
                f"the {what} must have the shape {tuple(expected.shape)} and the type {expected.dtype}, "
                f"got {tuple(came.shape)} and {came.dtype}"
            )
            raise ValueError(msg)


def copy_state(xp: Namespace, state: State) -> State:
    """Return a state of its own arrays, which a step may change in place."""
    return xp.asarray(state[0], copy=True), tuple(xp.asarray(array, copy=True) for array in state[1])


def _all_finite(xp: Namespace, array: Array, lead: int) -> Array:
    """Say for each network, along the leading axes, whether all that the array holds of it is finite."""
    axes = tuple(range(lead, array.ndim))
    return xp.all(xp.isfinite(array), axis=axes) if axes else xp.isfinite(array)


def _keep_finite(xp: Namespace, finite: Array, new: State, old: State) -> State:
    """Return the new state for the networks where `finite`, of shape (...), is true, and the old one for the others."""

    def keep(new: Array, old: Array) -> Array:
        return xp.where(xp.reshape(finite, finite.shape + (1,) * (new.ndim - finite.ndim)), new, old)

    return keep(new[0], old[0]), tuple(keep(*arrays) for arrays in zip(new[1], old[1], strict=True))


def train_epochs(
    backend: Backend,
    step: Step,
    state: State,
    X: Array,
    Y: Array,
    learning_rate: Array,
    *,
    epochs: int,
    batch_size: int = 1,
    orders: Iterable[Any] | None = None,
    factors: Iterable[Any] | None = None,
) -> Iterator[tuple[State, Array]]:
    """Train for a number of epochs, without waiting for the device.

    Parameters
    ----------
    backend : Backend
        Where all the arrays live.
    step : callable
        From `make_step`.
    state : (array, tuple of arrays)
        theta of shape (..., P) and the optimizer's memory; they are copied, not changed.
    X : array of shape (..., n_0, N)
        The samples. Without leading axes an ensemble shares them.
    Y : array of shape (..., n_L, N)
        What the network should answer.
    learning_rate : array of shape () or (..., 1)
        One for all, or one a network.
    epochs : int
        How many times to go through the samples.
    batch_size : int
        The samples of a step; the last step of an epoch takes what is left.
    orders : iterable of host arrays, optional
        For every epoch a permutation of the N samples, and training ends with the last of them; without it the samples
        are taken as they come.
    factors : iterable of host arrays of shape (steps,), optional
        For every epoch what to multiply the learning rate with in each of its N / batch_size steps, rounded up, and in
        its precision; training ends with the last of them.

    Yields
    ------
    state : (array, tuple of arrays)
        The state after the epoch, the caller's to keep. A network whose loss or parameters have ceased to be finite
        stays as it was after its last good epoch.
    loss : array of shape (...)
        The epoch's loss: every sample's own, taken before the step that learned from it, averaged. NaN once a network
        has ceased to be finite.
    """
    xp, N = backend.xp, X.shape[-1]
    with backend.on_device():
        last_finite = state
        state = copy_state(xp, state)
        finite: Array = True
        X_taken, Y_taken = X, Y
        rates = xp.broadcast_to(learning_rate, (-(-N // batch_size), *learning_rate.shape))
        inputs = _inputs(xp, X, Y, rates, batch_size)
    orders, factors = (repeat(None) if each is None else each for each in (orders, factors))
    for _, order, factor in zip(range(epochs), orders, factors, strict=False):
        with backend.on_device():
            if order is not None:
                # Taken as rows, which lie together in memory when the samples came one a row.
                indices = backend.asarray(order, "int32")
                X_taken, Y_taken = (xp.take(array.mT, indices, axis=-2).mT for array in (X, Y))
            if factor is not None:
                rates = learning_rate * xp.reshape(backend.asarray(factor), (-1, *[1] * learning_rate.ndim))
            if order is not None or factor is not None:
                inputs = _inputs(xp, X_taken, Y_taken, rates, batch_size)
            loss: Array = 0.0
            for stacks in inputs:
                state, losses = backend.scan(step, state, stacks)
                loss = loss + xp.sum(losses * (stacks[0].shape[-1] / N), axis=0)
            for array in (loss, state[0], *state[1]):
                finite = finite & _all_finite(xp, array, loss.ndim)
            last_finite = _keep_finite(xp, finite, state, last_finite)
            loss = xp.where(finite, loss, xp.nan)
        yield last_finite, loss
