"""One step of gradient descent: forward, loss, backward, update.

A step is a pure function ``step(state, batch) -> (state, loss)`` that can be traced: shapes are static, no branch
depends on a value, no state is kept between steps, and everything that changes from step to step is an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from xpnet._types import Array, Layers, Namespace, State
from xpnet.activations import Activation
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import Dropout, backward, forward
from xpnet.core.regularization import penalized, regularized, share_of_batch
from xpnet.losses import Loss, fuse, mean_loss
from xpnet.optimizers import Optimizer

Batch: TypeAlias = tuple[Array, Array, Array, Array | None, Sequence[Array | None], Mapping[str, float | Array]]
"""``(X, Y, learning_rate, weight, masks, regularization)``: the inputs of one step.

The samples X of shape (..., n_0, m), one per column; the targets Y of shape (..., n_L, m); the learning rate of shape
() or (..., 1), one for all networks or one for each; the sample weights of shape (..., 1, m), with mean 1, or None; and
the dropout masks, for each hidden layer an array of bool of shape (..., n, m) or None, or no masks at all; and the
regularization, the keyword arguments of `regularized`, or none. Another strength, alpha in place of l2, makes the loss
of a batch a total with a penalty, see `share_of_batch`. (A plain tuple, because creating a named tuple would take a
hundredth of a per-sample step.)
"""


def loss_gradient(
    xp: Namespace,
    X: Array,
    Y: Array,
    layers: Layers,
    activations: Sequence[Activation],
    loss: Loss,
    weight: Array | None = None,
    dropout: Dropout = (),
    *,
    input_gradient: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Compute the forward pass, the loss, and the backward pass.

    Returns
    -------
    value : array of shape (...)
        The loss averaged over the samples.
    dtheta : array of shape (..., P)
        Its gradient with respect to the parameters.
    dX : array of shape (..., n_0, m) or None
        Its gradient with respect to the samples if `input_gradient`, else None.
    """
    A, cache = forward(xp, X, layers, activations, dropout)
    value, dA = mean_loss(xp, loss, A, Y, weight)
    gradients = backward(xp, dA, cache, activations, dropout, input_gradient=input_gradient)
    dtheta = flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])
    return value, dtheta, gradients[0][0]


@dataclass(frozen=True)
class Step:
    """The step that trains a network on one batch; from `make_step`.

    It holds no arrays. Steps of equal parts are equal, so that a backend compiles a step once.
    """

    xp: Namespace
    layout: Layout
    activations: Sequence[Activation]
    loss: Loss
    optimizer: Optimizer
    dropout_rates: Sequence[float]

    def layers(self, theta: Array) -> Layers:
        """Return ``[(W1, b1), (W2, b2), …]``, views into theta."""
        return self.layout.layers(self.xp, theta)

    def __call__(self, state: State, batch: Batch, layers: Layers | None = None) -> tuple[State, Array]:
        """Take the step.

        Parameters
        ----------
        state : State
            The step may change its arrays in place.
        batch : Batch
            The samples, and the other inputs of the step.
        layers : sequence of (W, b), optional
            ``self.layers(state.theta)``, if the caller has it: computing it takes a fifth of a per-sample step.

        Returns
        -------
        state : State
            The next state.
        loss : array of shape (...)
            The loss before the update, averaged over the samples.
        """
        theta, optimizer_state = state
        X, Y, learning_rate, weight, masks, regularization = batch
        if layers is None:
            layers = self.layers(theta)
        dropout = list(zip(masks, self.dropout_rates, strict=True)) if masks else ()
        xp, optimizer, l2 = self.xp, self.optimizer, None
        if "alpha" in regularization:
            weight, l2, regularization = _of_total(xp, X.shape[-1], weight, **regularization)
        value, dtheta, _ = loss_gradient(xp, X, Y, layers, self.activations, self.loss, weight, dropout)
        if l2 is not None:
            value, dtheta = penalized(xp, value, dtheta, theta, regularization["mask"], l2)
        if regularization:
            optimizer = regularized(optimizer, **regularization)
        theta, optimizer_state = optimizer.update(xp, theta, dtheta, optimizer_state, learning_rate)
        return State(theta, optimizer_state), value


def _of_total(
    xp: Namespace, m: int, weight: Array | None, *, alpha: float | Array, **others: Any
) -> tuple[Array | None, Array, dict[str, Any]]:
    """Return the weights of the samples, the strength of the penalty and the other ones, for a loss that is a total."""
    return *share_of_batch(xp, m, weight, alpha), others


def make_step(
    xp: Namespace,
    layout: Layout,
    activations: Sequence[Activation],
    loss: Loss,
    optimizer: Optimizer,
    dropout_rates: Sequence[float] = (),
) -> Step:
    """Return the step that trains a network on one batch.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    layout : Layout
        The positions of weights and biases in theta.
    activations : sequence of Activation
        One for each layer.
    loss : Loss
        The loss to minimize.
    optimizer : Optimizer
        The update rule.
    dropout_rates : sequence of float, optional
        The dropout rate of each hidden layer, if batches hold masks.
    """
    activations, loss = fuse(activations, loss)
    return Step(xp, layout, tuple(activations), loss, optimizer, tuple(dropout_rates))


def objective(
    step: Step, X: Array, Y: Array, weight: Array | None, regularization: Mapping[str, float | Array]
) -> Callable[[Array], tuple[Array, Array]]:
    """Return the function of theta that L-BFGS minimizes, with its gradient: the loss on all samples and the penalty.

    The arguments are a step and the inputs of a `Batch`, with l2 or alpha as the only strength.
    """
    xp, l2, mask = step.xp, regularization.get("l2"), regularization.get("mask")
    if "alpha" in regularization:
        weight, l2, _ = _of_total(xp, X.shape[-1], weight, **regularization)

    def value_and_gradient(theta: Array) -> tuple[Array, Array]:
        value, dtheta, _ = loss_gradient(xp, X, Y, step.layers(theta), step.activations, step.loss, weight)
        return (value, dtheta) if l2 is None else penalized(xp, value, dtheta, theta, mask, l2)

    return value_and_gradient
