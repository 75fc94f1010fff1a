"""Regularization: penalties, weight decay, gradient clipping, and dropout.

Penalties, weight decay and clipping wrap an optimizer into another optimizer. Penalties and decay apply to weights, not
to biases: `mask` is True where theta holds a weight.
"""

from __future__ import annotations

from functools import partial

from xpnet._types import Array, Namespace
from xpnet.optimizers import Optimizer, OptimizerState


def regularized(
    optimizer: Optimizer,
    mask: Array | None = None,
    *,
    present: Array | None = None,
    weight_decay: float | Array | None = None,
    l2: float | Array | None = None,
    l1: float | Array | None = None,
    clip_norm: float | Array | None = None,
) -> Optimizer:
    """Return an optimizer that regularizes, and then updates like the given one.

    Every strength is a positive number, an array of shape (..., 1) with one for each network, or None.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer to wrap.
    mask : array of bool of shape (P,), optional
        True for weights, False for biases; penalties and decay need it.
    present : array of bool of shape (E, P), optional
        Which parameters each network has; the others are 0, and so are their gradients from then on.
    weight_decay : float or array, optional
        Decoupled decay, W ← W − α λ W before the step; Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.
    l2 : float or array, optional
        The gradient of the penalty ½ λ ‖W‖²: dW ← dW + λ W.
    l1 : float or array, optional
        The gradient of the penalty λ ‖W‖₁: dW ← dW + λ sign(W).
    clip_norm : float or array, optional
        The maximum gradient norm, over all parameters of a network and with the penalties; a larger gradient is scaled
        down to it. Pascanu et al., https://arxiv.org/abs/1211.5063.
    """
    update = partial(
        _update, optimizer=optimizer, mask=mask, present=present, decay=weight_decay, l2=l2, l1=l1, clip_norm=clip_norm
    )
    return Optimizer(optimizer.init, update)


def _update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    optimizer_state: OptimizerState,
    learning_rate: float | Array,
    *,
    optimizer: Optimizer,
    mask: Array | None,
    present: Array | None,
    decay: float | Array | None,
    l2: float | Array | None,
    l1: float | Array | None,
    clip_norm: float | Array | None,
) -> tuple[Array, OptimizerState]:
    if present is not None:
        dtheta = xp.where(present, dtheta, 0.0)
    if l2 is not None:
        dtheta += xp.where(mask, l2 * theta, 0.0)
    if l1 is not None:
        dtheta += xp.where(mask, l1 * xp.sign(theta), 0.0)
    if clip_norm is not None:
        dtheta *= clip_norm / xp.maximum(_norm(xp, dtheta), clip_norm)
    if decay is not None:
        theta -= xp.where(mask, (learning_rate * decay) * theta, 0.0)
    return optimizer.update(xp, theta, dtheta, optimizer_state, learning_rate)


def share_of_batch(xp: Namespace, m: int, weight: Array | None, alpha: float | Array) -> tuple[Array | None, Array]:
    """Return what makes the loss of a batch its total with a penalty, (Σⱼ wⱼ L(Aⱼ, Yⱼ) + ½ α ‖W‖²) / Σⱼ wⱼ.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    m : int
        The number of samples of the batch.
    weight : array of shape (..., 1, m) or None
        The weights wⱼ of the samples; None for 1.
    alpha : float or array of shape (..., 1)
        α, the strength of the penalty.

    Returns
    -------
    weight : array of shape (..., 1, m) or None
        The weights, with mean 1 in the batch.
    l2 : float or array of shape (..., 1)
        The strength λ of the penalty ½ λ ‖W‖².
    """
    if weight is None:
        return None, alpha / m
    total = xp.sum(weight, axis=-1)
    return weight * (m / total)[..., None], alpha / total


def penalized(
    xp: Namespace, value: Array, dtheta: Array, theta: Array, mask: Array, l2: float | Array
) -> tuple[Array, Array]:
    """Return a loss of shape (...) and its gradient (..., P) with the penalty ½ λ ‖W‖²; `mask` is True for weights."""
    gradient = xp.where(mask, l2 * theta, 0.0)
    return value + 0.5 * xp.vecdot(gradient, theta), dtheta + gradient


def _norm(xp: Namespace, dtheta: Array) -> Array:
    """Return ‖dθ‖ of shape (..., 1), computed relative to the largest entry so that no square overflows."""
    largest = xp.max(xp.abs(dtheta), axis=-1, keepdims=True)
    # Of a smaller number the reciprocal, by which compiled code multiplies, would be infinite.
    unit = xp.where(largest >= xp.finfo(dtheta.dtype).smallest_normal, largest, 1.0)
    relative = dtheta / unit
    return unit * xp.sqrt(xp.sum(relative * relative, axis=-1, keepdims=True))


def apply_dropout(xp: Namespace, A: Array, mask: Array | None, rate: float) -> Array:
    """Apply inverted dropout: A ← A mask / (1 − p), which sets dropped units to 0 and scales up the others.

    It is linear, so that the same function applies to the gradient with respect to A; Srivastava et al.,
    https://jmlr.org/papers/v15/srivastava14a.html.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    A : array of shape (..., n, m)
        The activations of a hidden layer, or the gradient with respect to them.
    mask : array of bool of shape (..., n, m) or None
        Which units of which sample are kept; None for all.
    rate : float
        p, the fraction of units that is dropped on average.
    """
    return A if mask is None else xp.where(mask, A * (1.0 / (1.0 - rate)), 0.0)
