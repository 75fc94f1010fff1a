"""Regularisation: what keeps parameters and steps small, and units from relying on each other.

The first goes around an optimizer and makes another optimizer of it, dropout around an activation: whoever takes steps,
or goes through the layers, need not know. Weights decay, biases do not: `mask` is 1 where theta holds a weight, and
else 0.
"""

from __future__ import annotations

from functools import partial

from xpnet._types import Array, Namespace
from xpnet.activations import Activation
from xpnet.optimizers import Memory, Optimizer
from xpnet.validation import number_from_zero, positive_number


def regularized(
    optimizer: Optimizer,
    mask: Array,
    *,
    weight_decay: float | Array = 0.0,
    l2: float | Array = 0.0,
    l1: float | Array = 0.0,
    clip_norm: float | Array | None = None,
) -> Optimizer:
    """Return an optimizer that regularises, and then does what the given one does.

    Every strength is a number, or an array of shape (..., 1): one a network.

    Parameters
    ----------
    optimizer : Optimizer
        What to go around.
    mask : array of shape (P,)
        1 for weights, 0 for biases, in the type of theta.
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
    if clip_norm is not None and not hasattr(clip_norm, "ndim"):
        clip_norm = positive_number("clip_norm", clip_norm, "float64")
    decay, l2_mask, l1_mask = (
        _strength(name, value, mask) for name, value in (("weight_decay", weight_decay), ("l2", l2), ("l1", l1))
    )
    update = partial(_update, optimizer=optimizer, decay=decay, l2=l2_mask, l1=l1_mask, clip_norm=clip_norm)
    return Optimizer(optimizer.init, update)


def _strength(name: str, value: float | Array, mask: Array) -> Array | None:
    """Return how strongly every parameter is drawn to zero, of shape (P,) or (..., P), or None where not at all."""
    if not hasattr(value, "ndim"):
        value = number_from_zero(name, value, "float64")
        if value == 0.0:
            return None
    return value * mask


def _update(
    xp: Namespace,
    theta: Array,
    dtheta: Array,
    memory: Memory,
    learning_rate: float | Array,
    *,
    optimizer: Optimizer,
    decay: Array,
    l2: Array,
    l1: Array,
    clip_norm: float | Array | None,
) -> tuple[Array, Memory]:
    if l2 is not None:
        dtheta = dtheta + l2 * theta
    if l1 is not None:
        dtheta = dtheta + l1 * xp.sign(theta)
    if clip_norm is not None:
        dtheta = dtheta * (clip_norm / xp.maximum(_norm(xp, dtheta), clip_norm))
    if decay is not None:
        theta -= learning_rate * (decay * theta)
    return optimizer.update(xp, theta, dtheta, memory, learning_rate)


def _norm(xp: Namespace, dtheta: Array) -> Array:
    """‖dθ‖ of shape (..., 1), measured in its greatest entry so that no square overflows."""
    greatest = xp.max(xp.abs(dtheta), axis=-1, keepdims=True)
    unit = xp.where(greatest > 0.0, greatest, 1.0)
    relative = dtheta / unit
    return unit * xp.sqrt(xp.sum(relative * relative, axis=-1, keepdims=True))


def dropped(activation: Activation, mask: Array, rate: float) -> Activation:
    """Return an activation for one step that leaves units out, and makes up for it in the others: inverted dropout.

    A ← A mask / (1 − p), and the same for the gradient; Srivastava et al.,
    https://jmlr.org/papers/v15/srivastava14a.html.

    Parameters
    ----------
    activation : Activation
        What to go around.
    mask : array of bool of shape (..., n, m)
        Which units of which sample stay.
    rate : float
        p, the fraction that is left out on average.
    """
    scale, answers = 1.0 / (1.0 - rate), None

    def forward(xp: Namespace, Z: Array) -> Array:
        nonlocal answers
        answers = activation.forward(xp, Z)
        return xp.where(mask, answers * scale, 0.0)

    def backward(xp: Namespace, dA: Array, Z: Array, A: Array) -> Array:
        # The activation's derivative is one of its own answers, not of what dropout has left of them.
        return activation.backward(xp, xp.where(mask, dA * scale, 0.0), Z, answers)

    return Activation(forward, backward)
