"""Loss functions.

A loss is a pair of pure functions of the outputs A and the targets Y, both of shape (..., n, m), n outputs and m
samples::

    value(xp, A, Y)       the loss of every sample, of shape (..., m)
    gradient(xp, A, Y)    its gradient with respect to A, of shape (..., n, m)

The loss of a sample is the sum over its outputs. The loss of a batch is the mean over its samples, see `mean_loss`.

Some losses have a canonical output activation, such as the sigmoid for the binary cross-entropy. Such a loss also
stores the loss as a function of Z, the inputs of that activation. Training then uses it instead of the
activation and the loss (`fuse`): it is exact even where A rounds to 0 or 1, and its gradient by Z is A − Y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from xpnet._checks import positive_number
from xpnet._types import Array, Namespace
from xpnet.activations import Activation, exp, identity, sigmoid, softmax

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
    """A loss function: the loss of each sample and its gradient.

    Attributes
    ----------
    value : callable
        ``value(xp, A, Y)`` returns the loss of each sample, of shape (..., m), for A and Y of shape (..., n, m).
    gradient : callable
        ``gradient(xp, A, Y)`` returns its gradient with respect to A, of shape (..., n, m).
    canonical : (Activation, Loss) or None
        The canonical output activation, and the loss as a function of its input Z.
    bounds : (float, float)
        The lower and upper bound of the outputs for which the loss is defined, by default −∞ and ∞.

    Examples
    --------
    A custom loss, (A − Y)⁴:

    >>> import numpy as np
    >>> from xpnet import Loss, NeuralNetwork
    >>> quartic = Loss(
    ...     value=lambda xp, A, Y: xp.sum((A - Y) ** 4, axis=-2),
    ...     gradient=lambda xp, A, Y: 4 * (A - Y) ** 3,
    ... )
    >>> quartic.value(np, np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    array([ 1., 16.])
    >>> network = NeuralNetwork([1, 10, 1], loss=quartic)
    """

    value: Callable[[Namespace, Array, Array], Array]
    gradient: Callable[[Namespace, Array, Array], Array]
    canonical: tuple[Activation, Loss] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)


def _half_squared_error(xp: Namespace, A: Array, Y: Array) -> Array:
    """½ ‖A − Y‖²."""
    error = A - Y
    if error.shape[-2] == 1:  # an elementwise product takes half the time of vecdot
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
    """Σ ½ e² where |e| ≤ δ, else δ (|e| − ½ δ), with e = A − Y; computed as c (|e| − ½ c) with c = min(|e|, δ)."""
    error = xp.abs(A - Y)
    clipped = xp.minimum(error, delta)
    return xp.sum(clipped * (error - 0.5 * clipped), axis=-2)


def _huber_gradient(xp: Namespace, A: Array, Y: Array, *, delta: float) -> Array:
    """A − Y, clipped to [−δ, δ]."""
    return xp.minimum(xp.maximum(A - Y, -delta), delta)


def _log_cosh(xp: Namespace, A: Array, Y: Array) -> Array:
    """Σ log cosh e with e = A − Y, computed as |e| + log(1 + exp(−2 |e|)) − log 2, because cosh overflows.

    For small |e| the terms of this sum cancel; there it is computed as −½ log(1 − tanh² e).
    """
    error = xp.abs(A - Y)
    t = xp.tanh(xp.minimum(error, 1.0))
    large = error + xp.log1p(xp.exp(-2.0 * error)) - math.log(2.0)
    return xp.sum(xp.where(error < 1.0, -0.5 * xp.log1p(-t * t), large), axis=-2)


def _log_cosh_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """tanh(A − Y)."""
    return xp.tanh(A - Y)


def _above_zero(xp: Namespace, A: Array) -> Array:
    """Return A, clipped from below at a tiny number whose logarithm and inverse are finite."""
    return xp.maximum(A, float(xp.finfo(A.dtype).smallest_normal) ** 0.5)


def _below_one(xp: Namespace, A: Array) -> Array:
    """Return 1 − A, clipped from below at the machine epsilon."""
    return xp.maximum(1.0 - A, float(xp.finfo(A.dtype).eps))


def _of_perfect_outputs(xp: Namespace, Y: Array) -> Array:
    """Y − Y log Y, which is 0 for Y = 0: the Poisson loss without this term has this minimum, at A = Y."""
    return Y - Y * xp.log(_above_zero(xp, Y))


def _poisson(xp: Namespace, A: Array, Y: Array) -> Array:
    """Σ (A − Y log A − (Y − Y log Y)), half the deviance of the Poisson distribution."""
    return xp.sum(A - Y * xp.log(_above_zero(xp, A)) - _of_perfect_outputs(xp, Y), axis=-2)


def _poisson_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """1 − Y / A."""
    return 1.0 - Y / _above_zero(xp, A)


def _poisson_of_logarithms(xp: Namespace, Z: Array, Y: Array) -> Array:
    """Σ (exp(Z) − Y Z − (Y − Y log Y)), the Poisson loss of A = exp(Z)."""
    return xp.sum(exp.forward(xp, Z) - Y * Z - _of_perfect_outputs(xp, Y), axis=-2)


def _poisson_of_logarithms_gradient(xp: Namespace, Z: Array, Y: Array) -> Array:
    """exp(Z) − Y."""
    return exp.forward(xp, Z) - Y


def _binary_crossentropy(xp: Namespace, A: Array, Y: Array) -> Array:
    """−Σ (Y log A + (1 − Y) log(1 − A))."""
    return -xp.sum(Y * xp.log(_above_zero(xp, A)) + (1.0 - Y) * xp.log(_below_one(xp, A)), axis=-2)


def _binary_crossentropy_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """(1 − Y) / (1 − A) − Y / A."""
    return (1.0 - Y) / _below_one(xp, A) - Y / _above_zero(xp, A)


def _binary_crossentropy_of_logits(xp: Namespace, Z: Array, Y: Array) -> Array:
    """Σ (log(1 + exp(Z)) − Y Z), the binary cross-entropy of A = σ(Z)."""
    # Large terms are subtracted first, for precision.
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
    """Σᵢ Yᵢ (log Σⱼ exp(Zⱼ) − Zᵢ), the categorical cross-entropy of A = softmax(Z); computed from Z − max(Z)."""
    shifted = Z - xp.max(Z, axis=-2, keepdims=True)
    return xp.sum(Y * (xp.log(xp.sum(xp.exp(shifted), axis=-2, keepdims=True)) - shifted), axis=-2)


def _categorical_crossentropy_of_logits_gradient(xp: Namespace, Z: Array, Y: Array) -> Array:
    """softmax(Z) Σ Y − Y, where Σ Y is 1 for one-hot targets."""
    return softmax.forward(xp, Z) * xp.sum(Y, axis=-2, keepdims=True) - Y


def huber(*, delta: float = 1.0) -> Loss:
    """Return the Huber loss, which is quadratic for small errors and linear for large ones [1]_.

    With e = A − Y it is the sum over the outputs of ½ e² where |e| ≤ δ, else δ (|e| − ½ δ).

    Parameters
    ----------
    delta : float
        δ, above 0: the size of the error from which the loss is linear.

    Returns
    -------
    loss : Loss
        The Huber loss.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number.

    References
    ----------
    .. [1] Huber, "Robust estimation of a location parameter", 1964, https://doi.org/10.1214/aoms/1177703732

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.losses import huber
    >>> huber(delta=1.0).value(np, np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))
    array([0.125, 2.5  ])
    """
    delta = positive_number("delta", delta, "float32")
    return Loss(partial(_huber, delta=delta), partial(_huber_gradient, delta=delta))


half_squared_error = Loss(_half_squared_error, _half_squared_error_gradient)
mean_absolute_error = Loss(_mean_absolute_error, _mean_absolute_error_gradient)
log_cosh = Loss(_log_cosh, _log_cosh_gradient)
poisson = Loss(
    _poisson,
    _poisson_gradient,
    canonical=(exp, Loss(_poisson_of_logarithms, _poisson_of_logarithms_gradient)),
    bounds=(0.0, math.inf),
)
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
"""The built-in losses by name."""


def fuse(activations: Sequence[Activation], loss: Loss) -> tuple[list[Activation], Loss]:
    """Replace a canonical output activation and its loss by the identity and the loss of the logits.

    Parameters
    ----------
    activations : sequence of Activation
        The activations of all layers.
    loss : Loss
        The loss.

    Returns
    -------
    activations : list of Activation
        The same, with `identity` in the output layer if its activation is the canonical one of the loss.
    loss : Loss
        The loss as a function of the new outputs.

    Examples
    --------
    >>> from xpnet.activations import identity, sigmoid, tanh
    >>> from xpnet.losses import binary_crossentropy, fuse
    >>> activations, loss = fuse([tanh, sigmoid], binary_crossentropy)
    >>> activations == [tanh, identity]
    True
    """
    if loss.canonical and activations[-1] == loss.canonical[0]:
        return [*activations[:-1], identity], loss.canonical[1]
    return list(activations), loss


def sample_losses(xp: Namespace, loss: Loss, A: Array, Y: Array, weight: Array | None = None) -> Array:
    """Return the loss of every sample, of shape (..., m), multiplied with its weight if there are weights."""
    values = loss.value(xp, A, Y)
    if values.shape != (*A.shape[:-2], A.shape[-1]):
        msg = (
            f"the value of a loss must have the shape {(*A.shape[:-2], A.shape[-1])}, one number per sample, for "
            f"outputs of shape {tuple(A.shape)}, got {tuple(values.shape)}"
        )
        raise ValueError(msg)
    return values if weight is None else values * weight[..., 0, :]


def mean_loss(xp: Namespace, loss: Loss, A: Array, Y: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Return the mean loss of a batch and its gradient.

    It is L = (1/m) Σⱼ wⱼ L(Aⱼ, Yⱼ) over the m samples, where wⱼ = 1 without weights.

    Parameters
    ----------
    xp : module
        The array API namespace of the arrays.
    loss : Loss
        The loss of each sample.
    A, Y : array of shape (..., n, m)
        The outputs and the targets.
    weight : array of shape (..., 1, m), optional
        The weights of the samples.

    Returns
    -------
    loss : array of shape (...)
        The mean loss.
    dA : array of shape (..., n, m)
        Its gradient with respect to A.

    Raises
    ------
    ValueError
        If the loss returns an array of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.losses import half_squared_error, mean_loss
    >>> A, Y = np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]])
    >>> value, dA = mean_loss(np, half_squared_error, A, Y)
    >>> float(value), dA  # (½ · 1² + ½ · 3²) / 2
    (2.5, array([[0.5, 1.5]]))
    """
    values, dA, m = sample_losses(xp, loss, A, Y, weight), loss.gradient(xp, A, Y), A.shape[-1]
    if dA.shape != A.shape:
        msg = f"the gradient of a loss must have the shape {tuple(A.shape)} of the outputs, got {tuple(dA.shape)}"
        raise ValueError(msg)
    if weight is not None:
        dA = dA * weight
    if m == 1:  # the sum of one number would take a tenth of the time of a per-sample step
        return values[..., 0], dA
    return xp.sum(values, axis=-1) / m, dA / m  # NumPy's mean takes twice as long
