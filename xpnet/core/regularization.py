"""Regularisation: what keeps parameters and steps small, and units from relying on each other.

Penalties, weight decay and clipping wrap an optimizer and make another optimizer of it, so that a training step need
not know of them. They apply to weights, not to biases: `mask` is True where theta holds a weight.
"""

from __future__ import annotations

from functools import partial

from xpnet._checks import number_from_zero, positive_number
from xpnet._types import Array, Namespace
from xpnet.optimizers import Optimizer, OptimizerState


def regularized(
    optimizer: Optimizer,
    mask: Array,
    *,
    weight_decay: float | Array = 0.0,
    l2: float | Array = 0.0,
    l1: float | Array = 0.0,
    clip_norm: float | Array | None = None,
) -> Optimizer:
    """Return an optimizer that regularises, and then updates as the given one does.

    Every strength is a number, or an array of shape (..., 1): one a network.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer to wrap.
    mask : array of bool of shape (P,)
        True for weights, False for biases.
    weight_decay : float
        Decoupled decay, W ← W − α λ W before the step; Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.
    l2 : float
        The gradient of the penalty ½ λ ‖W‖²: dW ← dW + λ W.
    l1 : float
        The gradient of the penalty λ ‖W‖₁: dW ← dW + λ sign(W).
    clip_norm : float, optional
        The maximum norm of the gradient of all parameters of a network, penalties included; a longer one is scaled
        down to it. Pascanu et al., https://arxiv.org/abs/1211.5063.
    """
    if clip_norm is not None and not hasattr(clip_norm, "ndim"):
        clip_norm = positive_number("clip_norm", clip_norm, "float64")
    strengths = {"weight_decay": weight_decay, "l2": l2, "l1": l1}
    decay, l2, l1 = (_strength(name, value) for name, value in strengths.items())
    update = partial(_update, optimizer=optimizer, mask=mask, decay=decay, l2=l2, l1=l1, clip_norm=clip_norm)
    return Optimizer(optimizer.init, update)


def _strength(name: str, value: float | Array) -> float | Array | None:
    """Return how strongly weights are shrunk, or None where not at all."""
    if hasattr(value, "ndim"):
        return value
    return number_from_zero(name, value, "float64") or None


def _update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    optimizer: Optimizer,
    mask: Array,
    decay: float | Array | None,
    l2: float | Array | None,
    l1: float | Array | None,
    clip_norm: float | Array | None,
) -> tuple[Array, OptimizerState]:
    if l2 is not None:
        dtheta += xp.where(mask, l2 * theta, 0.0)
    if l1 is not None:
        dtheta += xp.where(mask, l1 * xp.sign(theta), 0.0)
    if clip_norm is not None:
        dtheta *= clip_norm / xp.maximum(_norm(xp, dtheta), clip_norm)
    if decay is not None:
        theta -= xp.where(mask, (learning_rate * decay) * theta, 0.0)
    return optimizer.update(xp, theta, dtheta, optimizer_state, learning_rate)


def _norm(xp: Namespace, dtheta: Array) -> Array:
    """‖dθ‖ of shape (..., 1), measured in its greatest entry so that no square overflows."""
    greatest = xp.max(xp.abs(dtheta), axis=-1, keepdims=True)
    unit = xp.where(greatest > 0.0, greatest, 1.0)
    relative = dtheta / unit
    return unit * xp.sqrt(xp.sum(relative * relative, axis=-1, keepdims=True))


def dropped(xp: Namespace, A: Array, mask: Array | None, rate: float) -> Array:
    """Set what dropout leaves out to zero, and scale up the rest: inverted dropout, A ← A mask / (1 − p).

    It is linear, so that the gradient with respect to A is dropped by the same mask; Srivastava et al.,
    https://jmlr.org/papers/v15/srivastava14a.html.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    A : array of shape (..., n, m)
        The activations of a hidden layer, or the gradient with respect to them.
    mask : array of bool of shape (..., n, m) or None
        Which units of which sample stay; None for all.
    rate : float
        p, the fraction that is left out on average.
    """
    return A if mask is None else xp.where(mask, A * (1.0 / (1.0 - rate)), 0.0)
