"""Training: the step, and the epochs that repeat it.

A step is a pure function ``step(state, batch) -> (state, loss)`` that can be traced: shapes are static, no branch looks
at a value, and what changes from step to step is an input. The state is a pair: the parameter vector theta, and the
tuple of arrays that the optimizer remembers. A batch is (X, Y, learning_rate), then where they are asked for the
weights of the samples, of shape (..., 1, m), and the masks of dropout, of shape (..., n, m) for each layer that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from xpnet._types import Array, Layers, Namespace
from xpnet.activations import Activation
from xpnet.backends import Backend
from xpnet.backends.base import State, Step
from xpnet.losses import Loss, fuse, mean_loss
from xpnet.metrics import Metric
from xpnet.optimizers import Optimizer
from xpnet.parameters import Layout, flatten
from xpnet.propagation import backward, forward
from xpnet.regularization import dropped

Batches: TypeAlias = list[tuple[Array, ...]]


def loss_gradient(
    xp: Namespace,
    X: Array,
    Y: Array,
    layers: Layers,
    activations: Sequence[Activation],
    loss: Loss,
    weight: Array | None = None,
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
    value, dA = mean_loss(xp, loss, A, Y, weight)
    gradients = backward(xp, dA, A, cache, activations, input_gradient=input_gradient)
    dtheta = flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])
    return value, dtheta, gradients[0][0]


def evaluate(
    xp: Namespace,
    X: Array,
    Y: Array,
    layers: Layers,
    activations: Sequence[Activation],
    loss: Loss,
    metrics: Mapping[str, Metric],
    weight: Array | None = None,
) -> dict[str, Array]:
    """Return the loss averaged over samples, and every metric, of shape (...), by name."""
    fused, fused_loss = fuse(activations, loss)
    Z, _ = forward(xp, X, layers, fused)
    values = {"loss": mean_loss(xp, fused_loss, Z, Y, weight)[0]}
    if metrics:
        A = Z if fused_loss is loss else activations[-1].forward(xp, Z)
        for name, metric in metrics.items():
            try:
                values[name] = metric(xp, A, Y, weight)
            except TypeError as error:
                msg = f"the metric {name} must be a function metric(xp, A, Y, weight): {error}"
                raise TypeError(msg) from error
    return values


def make_step(
    xp: Namespace,
    layout: Layout,
    activations: Sequence[Activation],
    loss: Loss,
    optimizer: Optimizer,
    *,
    weighted: bool = False,
    dropout: Sequence[float] = (),
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
    weighted : bool
        Whether batches hold weights of the samples.
    dropout : sequence of float, optional
        For each hidden layer the fraction of its units that a step leaves out.

    Returns
    -------
    step : callable
        ``step(state, (X, Y, learning_rate, ...)) -> (state, loss)`` with X of shape (..., n_0, m), Y of shape
        (..., n_L, m), a learning rate that broadcasts against theta, and the loss before the update, of shape (...).
    """
    activations, loss = fuse(activations, loss)
    viewed: tuple[Array, Layers] = (None, [])

    def step(state: State, batch: Sequence[Array]) -> tuple[State, Array]:
        nonlocal viewed
        theta, memory = state
        X, Y, learning_rate, *rest = batch
        weight = rest.pop(0) if weighted else None
        used = _with_dropout(activations, dropout, rest) if rest else activations
        # An update in place hands the same vector on, with its views as good as before: making them anew at every
        # step would take a fifth of it. Where arrays are immutable, every step brings a new vector.
        views = viewed
        if theta is not views[0]:
            viewed = views = (theta, layout.layers(xp, theta))
        value, dtheta, _ = loss_gradient(xp, X, Y, views[1], used, loss, weight)
        return optimizer.update(xp, theta, dtheta, memory, learning_rate), value

    return step


def _with_dropout(activations: Sequence[Activation], rates: Sequence[float], masks: list[Array]) -> list[Activation]:
    left = iter(masks)
    hidden = [
        dropped(activation, next(left), rate) if rate else activation
        for activation, rate in zip(activations, rates, strict=False)
    ]
    return [*hidden, activations[-1]]


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


def _inputs(xp: Namespace, columns: Sequence[Array], rates: Array, batch_size: int) -> Batches:
    """Return the batches, one stack of full ones and one of the rest; `rates` has the shape (steps, ...)."""
    stacks = [split(xp, array, batch_size) for array in columns]
    full = stacks[0][0].shape[0]
    stacks.insert(2, [rates[:full, ...], rates[full:, ...]][: len(stacks[0])])
    return list(zip(*stacks, strict=True))


def _in_order(xp: Namespace, array: Array, order: Array, first: Array | None) -> Array:
    """Return samples of shape (..., n, N) in another order.

    The order is one for all networks, of shape (N,), or one for each, (E, N); `first`, of shape (E, 1), then says where
    the samples of each network begin when all of them lie one after the other.
    """
    rows = array.mT  # which lie together in memory when the samples came one a row
    if order.ndim == 1:
        return xp.take(rows, order, axis=-2).mT
    if rows.ndim == 3:
        order, rows = order + first, xp.reshape(rows, (-1, rows.shape[-1]))
    taken = xp.take(rows, xp.reshape(order, (-1,)), axis=0)
    return xp.reshape(taken, (*order.shape, rows.shape[-1])).mT


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


def choose(xp: Namespace, where: Array, new: State, old: State) -> State:
    """Return the new state for the networks where `where`, of shape (...), is true, and the old one for the others."""

    def chosen(new: Array, old: Array) -> Array:
        return xp.where(xp.reshape(where, where.shape + (1,) * (new.ndim - where.ndim)), new, old)

    return chosen(new[0], old[0]), tuple(chosen(*arrays) for arrays in zip(new[1], old[1], strict=True))


def train_epochs(
    backend: Backend,
    step: Step,
    state: State,
    X: Array,
    Y: Array,
    learning_rate: Array,
    weight: Array | None = None,
    *,
    epochs: int,
    batch_size: int = 1,
    orders: Iterable[Any] | None = None,
    factors: Iterable[Any] | None = None,
    masks: Iterable[Sequence[Any]] | None = None,
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
    weight : array of shape (..., 1, N), optional
        How much every sample counts, 1 on average; for a step made to take it.
    epochs : int
        How many times to go through the samples.
    batch_size : int
        The samples of a step; the last step of an epoch takes what is left.
    orders : iterable of host arrays, optional
        For every epoch a permutation of the N samples, of shape (N,), or (E, N) with one a network; training ends with
        the last of them. Without it the samples are taken as they come.
    factors : iterable of host arrays, optional
        For every epoch what to multiply the learning rate with in each of its N / batch_size steps, rounded up, in its
        precision, and of shape (steps,) or (steps, E); training ends with the last of them.
    masks : iterable of sequences of host arrays of bool, optional
        For every epoch the masks of dropout, of shape (..., n, N); training ends with the last of them.

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
    samples = [X, Y] if weight is None else [X, Y, weight]
    with backend.on_device():
        last_finite = state
        state = copy_state(xp, state)
        finite: Array = True
        same_rates = xp.broadcast_to(learning_rate, (-(-N // batch_size), *learning_rate.shape))

    def inputs_of(order: Any, factor: Any, dropout: Any) -> Batches:
        columns, rates = samples, same_rates
        if order is not None:
            size = "int32" if order.size < 2**31 else "int64"  # not every device has 64 bits
            indices = backend.asarray(order, size)
            first = backend.asarray([[N * e] for e in range(order.shape[0])], size) if order.ndim > 1 else None
            columns = [_in_order(xp, array, indices, first) for array in samples]
        if factor is not None:
            factor = backend.asarray(factor)
            rates = learning_rate * xp.reshape(factor, factor.shape + (1,) * (learning_rate.ndim + 1 - factor.ndim))
        if dropout is not None:
            columns = [*columns, *(backend.asarray(mask) for mask in dropout)]
        return _inputs(xp, columns, rates, batch_size)

    def epoch(state: State, inputs: Batches) -> tuple[State, Array]:
        loss: Array = 0.0
        for stacks in inputs:
            state, losses = backend.scan(step, state, stacks)
            loss = loss + xp.sum(losses * (stacks[0].shape[-1] / N), axis=0)
        return state, loss

    always_same = orders is None and factors is None and masks is None
    if always_same:
        with backend.on_device():
            same_inputs = inputs_of(None, None, None)
    each_epoch = (repeat(None) if each is None else each for each in (orders, factors, masks))
    for _, *changing in zip(range(epochs), *each_epoch, strict=False):
        with backend.on_device():
            # What changes is not kept from epoch to epoch: networks that wait for others to train need no memory then.
            state, loss = epoch(state, same_inputs if always_same else inputs_of(*changing))
            for array in (loss, state[0], *state[1]):
                finite = finite & _all_finite(xp, array, loss.ndim)
            last_finite = choose(xp, finite, state, last_finite)
            loss = xp.where(finite, loss, xp.nan)
        yield last_finite, loss
