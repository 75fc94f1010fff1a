"""Loss functions.

A loss is a pair of pure functions of the outputs A and the targets Y, both of shape (..., n, m)::

    value(xp, A, Y)       the loss of every sample, of shape (..., m)
    gradient(xp, A, Y)    its gradient with respect to A, of shape (..., n, m)

The loss of a sample is the sum over its outputs; that of a batch is the mean over its samples, which `mean_loss` takes
of any such pair.

Where a last activation belongs to a loss, as the sigmoid does to the binary cross-entropy, the loss names it together
with the loss as a function of Z, before that activation: `fuse` then lets training skip the activation, which is exact
where A rounds to 0 or 1, and makes the gradient with respect to Z simply A − Y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from xpnet._checks import positive_number
from xpnet._types import Array, Namespace
from xpnet.activations import Activation, identity, sigmoid, softmax

__all__ = [
    "LOSSES",
    "Loss",
    "binary_crossentropy",
    "categorical_crossentropy",
    "fuse",
    "half_squared_error",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_loss",
    "poisson",
]


class Loss(NamedTuple):
    """The loss of each sample, with its gradient.

    It may also name the last activation that it belongs to, with the loss of Z, and the bounds between which A has to
    lie.
    """

    value: Callable[[Namespace, Array, Array], Array]
    gradient: Callable[[Namespace, Array, Array], Array]
    canonical: tuple[Activation, Loss] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)


def _half_squared_error(xp: Namespace, A: Array, Y: Array) -> Array:
    """½ ‖A − Y‖²."""
    error = A - Y
    if error.shape[-2] == 1:  # a product costs half as much as a sum of products
        return (0.5 * error * error)[..., 0, :]
    return 0.5 * xp.vecdot(error, error, axis=-2)


def _half_squared_error_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """A − Y."""
    return A - Y


def _mean_absolute_error(xp: Namespace, A: Array, Y: Array) -> Array:
    """Σ |A − Y|."""
    return xp.sum(xp.abs(A - Y), axis=-2)


def _mean_absolute_error_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """The sign of A − Y."""
    return xp.sign(A - Y)


def _huber(xp: Namespace, A: Array, Y: Array, *, delta: float) -> Array:
    """Σ ½ e² where |e| ≤ δ, else Σ δ (|e| − ½ δ), with e = A − Y: c (|e| − ½ c) where c is |e| or at most δ."""
    size = xp.abs(A - Y)
    cut = xp.minimum(size, delta)
    return xp.sum(cut * (size - 0.5 * cut), axis=-2)


def _huber_gradient(xp: Namespace, A: Array, Y: Array, *, delta: float) -> Array:
    """A − Y, cut at ±δ."""
    return xp.minimum(xp.maximum(A - Y, -delta), delta)


def _log_cosh(xp: Namespace, A: Array, Y: Array) -> Array:
    """Σ log cosh(A − Y), as |e| + log(1 + exp(−2 |e|)) − log 2, for cosh overflows.

    Where |e| is small that cancels, and it is −½ log(1 − tanh² e).
    """
    size = xp.abs(A - Y)
    t = xp.tanh(xp.minimum(size, 1.0))
    far = size + xp.log1p(xp.exp(-2.0 * size)) - math.log(2.0)
    return xp.sum(xp.where(size < 1.0, -0.5 * xp.log1p(-t * t), far), axis=-2)


def _log_cosh_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """tanh(A − Y)."""
    return xp.tanh(A - Y)


def _above_zero(xp: Namespace, A: Array) -> Array:
    """Return A, or where it is less a number so small that its logarithm and its inverse are just finite enough."""
    return xp.maximum(A, float(xp.finfo(A.dtype).smallest_normal) ** 0.5)


def _below_one(xp: Namespace, A: Array) -> Array:
    """Return 1 − A, but no less than the distance from 1 to the next greater number."""
    return xp.maximum(1.0 - A, float(xp.finfo(A.dtype).eps))


def _poisson(xp: Namespace, A: Array, Y: Array) -> Array:
    """Σ A − Y log A."""
    return xp.sum(A - Y * xp.log(_above_zero(xp, A)), axis=-2)


def _poisson_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """1 − Y / A."""
    return 1.0 - Y / _above_zero(xp, A)


def _binary_crossentropy(xp: Namespace, A: Array, Y: Array) -> Array:
    """−Σ Y log A + (1 − Y) log(1 − A)."""
    return -xp.sum(Y * xp.log(_above_zero(xp, A)) + (1.0 - Y) * xp.log(_below_one(xp, A)), axis=-2)


def _binary_crossentropy_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """(1 − Y) / (1 − A) − Y / A."""
    return (1.0 - Y) / _below_one(xp, A) - Y / _above_zero(xp, A)


def _binary_crossentropy_of_logits(xp: Namespace, Z: Array, Y: Array) -> Array:
    """Σ log(1 + exp(Z)) − Y Z, which is the binary cross-entropy of A = σ(Z); what is great cancels first."""
    return xp.sum((xp.maximum(Z, 0.0) - Y * Z) + xp.log1p(xp.exp(-xp.abs(Z))), axis=-2)


def _binary_crossentropy_of_logits_gradient(xp: Namespace, Z: Array, Y: Array) -> Array:
    """σ(Z) − Y."""
    return sigmoid.forward(xp, Z) - Y


def _categorical_crossentropy(xp: Namespace, A: Array, Y: Array) -> Array:
    """−Σ Y log A."""
    return -xp.sum(Y * xp.log(_above_zero(xp, A)), axis=-2)


def _categorical_crossentropy_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """−Y / A."""
    return -Y / _above_zero(xp, A)


def _categorical_crossentropy_of_logits(xp: Namespace, Z: Array, Y: Array) -> Array:
    """Σᵢ Yᵢ (log Σⱼ exp(Zⱼ) − Zᵢ), shifted by the greatest Z: the categorical cross-entropy of A = softmax(Z)."""
    shifted = Z - xp.max(Z, axis=-2, keepdims=True)
    return xp.sum(Y * (xp.log(xp.sum(xp.exp(shifted), axis=-2, keepdims=True)) - shifted), axis=-2)


def _categorical_crossentropy_of_logits_gradient(xp: Namespace, Z: Array, Y: Array) -> Array:
    """softmax(Z) Σ Y − Y, and Σ Y is 1 as a rule."""
    return softmax.forward(xp, Z) * xp.sum(Y, axis=-2, keepdims=True) - Y


def huber(*, delta: float = 1.0) -> Loss:
    """Half the squared error up to `delta`, and linear beyond; Huber, 1964, https://doi.org/10.1214/aoms/1177703732."""
    delta = positive_number("delta", delta, "float32")
    return Loss(partial(_huber, delta=delta), partial(_huber_gradient, delta=delta))


half_squared_error = Loss(_half_squared_error, _half_squared_error_gradient)
mean_absolute_error = Loss(_mean_absolute_error, _mean_absolute_error_gradient)
log_cosh = Loss(_log_cosh, _log_cosh_gradient)
poisson = Loss(_poisson, _poisson_gradient, bounds=(0.0, math.inf))
binary_crossentropy = Loss(
    _binary_crossentropy,
    _binary_crossentropy_gradient,
    canonical=(sigmoid, Loss(_binary_crossentropy_of_logits, _binary_crossentropy_of_logits_gradient)),
    bounds=(0.0, 1.0),
)
categorical_crossentropy = Loss(
    _categorical_crossentropy,
    _categorical_crossentropy_gradient,
    canonical=(softmax, Loss(_categorical_crossentropy_of_logits, _categorical_crossentropy_of_logits_gradient)),
    bounds=(0.0, 1.0),
)

LOSSES = {
    "half_squared_error": half_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "huber": huber(),
    "log_cosh": log_cosh,
    "poisson": poisson,
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
}


def fuse(activations: Sequence[Activation], loss: Loss) -> tuple[list[Activation], Loss]:
    """Return activations and a loss that come to the same; exactly so where the last activation belongs to the loss."""
    if loss.canonical and activations[-1] == loss.canonical[0]:
        return [*activations[:-1], identity], loss.canonical[1]
    return list(activations), loss


def sample_losses(xp: Namespace, loss: Loss, A: Array, Y: Array, weight: Array | None = None) -> Array:
    """Return the loss of every sample, of shape (..., m), as much as it counts."""
    values = loss.value(xp, A, Y)
    if values.shape != (*A.shape[:-2], A.shape[-1]):
        msg = (
            f"the value of a loss must have the shape {(*A.shape[:-2], A.shape[-1])} for outputs of shape "
            f"{tuple(A.shape)}, one number a sample, got {tuple(values.shape)}"
        )
        raise ValueError(msg)
    return values if weight is None else values * weight[..., 0, :]


def mean_loss(xp: Namespace, loss: Loss, A: Array, Y: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Return the loss averaged over the samples, of shape (...), and its gradient with respect to A, (..., n, m).

    A weight of shape (..., 1, m) says how much every sample counts; the sum is still divided by m.
    """
    values, dA, m = sample_losses(xp, loss, A, Y, weight), loss.gradient(xp, A, Y), A.shape[-1]
    if dA.shape != A.shape:
        msg = f"the gradient of a loss must have the shape {tuple(A.shape)} of the outputs, got {tuple(dA.shape)}"
        raise ValueError(msg)
    if weight is not None:
        dA = dA * weight
    if m == 1:  # the mean of one number is that number, and taking it would cost a tenth of a per-sample step
        return values[..., 0], dA
    return xp.mean(values, axis=-1), dA / m
