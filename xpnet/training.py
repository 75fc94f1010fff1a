"""Training: the step, and the epochs that repeat it.

A step is a pure function ``step(state, (X, Y, learning_rate)) -> (state, loss)`` that can be traced: shapes are static,
no branch looks at a value, and what changes from step to step is an input. The state is a pair: the parameter vector
theta, and the tuple of arrays that the optimizer remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.backends import Backend
from xpnet.backends.base import State, Step
from xpnet.losses import Loss, mean_loss, mean_loss_gradient
from xpnet.optimizers import Optimizer
from xpnet.parameters import Layout, flatten
from xpnet.propagation import backward, forward

Batches: TypeAlias = list[tuple[Array, ...]]


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
    viewed: Array = None
    layers: Layers = []

    def step(state: State, batch: Sequence[Array]) -> tuple[State, Array]:
        nonlocal viewed, layers
        theta, memory = state
        X, Y, learning_rate = batch
        # An update in place hands the same vector on, with its views as good as before: making them anew at every
        # step would take a fifth of it. Where arrays are immutable, every step brings a new vector.
        if theta is not viewed:
            viewed, layers = theta, layout.layers(xp, theta)
        A, cache = forward(xp, X, layers, activations)
        dA = mean_loss_gradient(xp, loss, A, Y)
        gradients = backward(xp, dA, A, cache, activations, input_gradient=False)
        dtheta = flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])
        value = mean_loss(xp, loss, A, Y)
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


def _inputs(xp: Namespace, X: Array, Y: Array, learning_rate: Array, batch_size: int) -> Batches:
    return [
        (X_stack, Y_stack, xp.broadcast_to(learning_rate, (X_stack.shape[0], *learning_rate.shape)))
        for X_stack, Y_stack in zip(split(xp, X, batch_size), split(xp, Y, batch_size), strict=True)
    ]


def _each(function: Callable[..., Array], *states: State) -> State:
    """Apply a function to the arrays that stand in the same place of each state."""
    thetas, memories = zip(*states, strict=True)
    return function(*thetas), tuple(function(*arrays) for arrays in zip(*memories, strict=True))


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
        For every epoch a permutation of the N samples; without it they are taken as they come.

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
    kept = state
    state = _each(partial(xp.asarray, copy=True), state)
    good: Array = True
    inputs = _inputs(xp, X, Y, learning_rate, batch_size)
    shuffled = iter(orders) if orders is not None else None
    for _ in range(epochs):
        if shuffled is not None:
            order = backend.asarray(next(shuffled), "int32")
            # Taken as rows, which lie together in memory when the samples came one a row.
            inputs = _inputs(
                xp,
                xp.take(X.mT, order, axis=-2).mT,
                xp.take(Y.mT, order, axis=-2).mT,
                learning_rate,
                batch_size,
            )
        loss: Array = 0.0
        for stacks in inputs:
            state, losses = backend.scan(step, state, stacks)
            loss = loss + xp.sum(losses * (stacks[0].shape[-1] / N), axis=0)
        good = good & xp.isfinite(loss) & xp.all(xp.isfinite(state[0]), axis=-1)
        kept = _each(partial(xp.where, xp.expand_dims(good, axis=-1)), state, kept)
        yield kept, xp.where(good, loss, xp.nan)
