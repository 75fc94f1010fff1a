"""Regularisation: what keeps parameters small, and steps too.

All of it goes around an optimizer and makes another optimizer of it, so that whoever takes steps need not know. Weights
decay, biases do not: `mask` is 1 where theta holds a weight, and else 0.
"""

from __future__ import annotations

from functools import partial

from xpnet._types import Array, Namespace
from xpnet.optimizers import Memory, Optimizer


def regularized(
    optimizer: Optimizer,
    mask: Array,
    *,
    weight_decay: float = 0.0,
    l2: float = 0.0,
    l1: float = 0.0,
    clip_norm: float | None = None,
) -> Optimizer:
    """Return an optimizer that regularises, and then does what the given one does.

    Parameters
    ----------
    optimizer : Optimizer
        What to go around.
    mask : array of shape (P,)
        1 for weights, 0 for biases.
    weight_decay : float
        Decoupled decay, W ← W − α λ W before the step; Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.
    l2 : float
        The gradient of the penalty ½ λ ‖W‖²: dW ← dW + λ W.
    l1 : float
        The gradient of the penalty λ ‖W‖₁: dW ← dW + λ sign(W).
    clip_norm : float, optional
        The greatest length that the gradient of all parameters of a network, penalties included, keeps; a longer one is
        shortened to it. Pascanu et al., https://arxiv.org/abs/1211.5063.
    """
    update = partial(
        _update, optimizer=optimizer, mask=mask, weight_decay=weight_decay, l2=l2, l1=l1, clip_norm=clip_norm
    )
    return Optimizer(optimizer.init, update)


def _update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    memory: Memory,
    learning_rate: float | Array,
    *,
    optimizer: Optimizer,
    mask: Array,
    weight_decay: float,
    l2: float,
    l1: float,
    clip_norm: float | None,
) -> tuple[Array, Memory]:
    if l2:
        dtheta = dtheta + (l2 * mask) * theta
    if l1:
        dtheta = dtheta + (l1 * mask) * xp.sign(theta)
    if clip_norm:
        norm = xp.sqrt(xp.sum(dtheta * dtheta, axis=-1, keepdims=True))
        # What is divided by is not less than the bound, so that a gradient of zero stays one.
        dtheta = dtheta * (clip_norm / xp.maximum(norm, clip_norm))
    if weight_decay:
        theta = theta - (learning_rate * weight_decay) * (mask * theta)
    return optimizer.update(xp, theta, dtheta, memory, learning_rate)
