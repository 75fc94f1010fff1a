"""One step of gradient descent: forward, loss, backward, update.

A step is a pure function ``step(state, batch) -> (state, loss)`` that can be traced: shapes are static, no branch
depends on a value, nothing is remembered from step to step, and what changes from step to step is an input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xpnet._types import Array, Layers, Namespace, State
from xpnet.activations import Activation
from xpnet.core.parameters import Layout, flatten
from xpnet.core.propagation import Dropout, backward, forward
from xpnet.losses import Loss, fuse, mean_loss
from xpnet.optimizers import Optimizer

Batch: TypeAlias = tuple[Array, Array, Array, Array | None, Sequence[Array | None]]
"""``(X, Y, learning_rate, weight, masks)``: what one step takes.

The samples X of shape (..., n_0, m), one a column, with the targets Y of shape (..., n_L, m); the learning rate, of
shape () or (..., 1), one for all networks or one for each; how much each sample counts, of shape (..., 1, m) and 1 on
average, or None; and for each hidden layer which units dropout leaves in, an array of bool of shape (..., n, m) or
None, or no masks at all. (A plain tuple, for making one of names would take a hundredth of a per-sample step.)
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
    A, cache = forward(xp, X, layers, activations, dropout)
    value, dA = mean_loss(xp, loss, A, Y, weight)
    gradients = backward(xp, dA, cache, activations, dropout, input_gradient=input_gradient)
    dtheta = flatten(xp, [array for _, dW, db in gradients for array in (dW, db)])
    return value, dtheta, gradients[0][0]


@dataclass(frozen=True, eq=False)
class Step:
    """The step that trains a network on one batch; from `make_step`."""

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
            Its arrays belong to the step, which may change them in place.
        batch : Batch
            What to learn from.
        layers : sequence of (W, b), optional
            ``self.layers(state.theta)``, from a caller who has it still: making it takes a fifth of a per-sample step.

        Returns
        -------
        state : State
            The next one.
        loss : array of shape (...)
            The loss before the update, averaged over the samples.
        """
        theta, optimizer_state = state
        X, Y, learning_rate, weight, masks = batch
        if layers is None:
            layers = self.layers(theta)
        dropout = list(zip(masks, self.dropout_rates, strict=True)) if masks else ()
        value, dtheta, _ = loss_gradient(self.xp, X, Y, layers, self.activations, self.loss, weight, dropout)
        theta, optimizer_state = self.optimizer.update(self.xp, theta, dtheta, optimizer_state, learning_rate)
        return State(theta, optimizer_state), value


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
        Where the weights and biases lie in theta.
    activations : sequence of Activation
        One a layer.
    loss : Loss
        The loss to minimise.
    optimizer : Optimizer
        How theta follows its gradient.
    dropout_rates : sequence of float, optional
        The dropout rate of each hidden layer, where batches hold masks.
    """
    return Step(xp, layout, *fuse(activations, loss), optimizer, dropout_rates)


def objective(
    xp: Namespace,
    layout: Layout,
    activations: Sequence[Activation],
    loss: Loss,
    X: Array,
    Y: Array,
    weight: Array | None,
    l2: Array,
) -> Callable[[Array], tuple[Array, Array]]:
    """Return the function of theta that L-BFGS minimises, with its gradient: the loss on all samples, and ½ Σ λ θ².

    `l2` is λ for each parameter, of shape (P,); the others are as for `loss_gradient`.
    """
    activations, loss = fuse(activations, loss)

    def value_and_gradient(theta: Array) -> tuple[Array, Array]:
        layers = layout.layers(xp, theta)
        value, dtheta, _ = loss_gradient(xp, X, Y, layers, activations, loss, weight)
        return value + 0.5 * xp.sum(l2 * theta * theta), dtheta + l2 * theta

    return value_and_gradient
