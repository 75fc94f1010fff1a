"""Loss functions.

A loss is a pair of pure functions of what the network answers, A, and what it should, Y, both of shape (..., n, m)::

    value(xp, A, Y)       the loss of every sample, of shape (..., m)
    gradient(xp, A, Y)    its gradient with respect to A, of shape (..., n, m)

The loss of a batch is the mean over its samples, which `mean_loss` takes of any such pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xpnet._types import Array, Namespace


class Loss(NamedTuple):
    """The loss of each sample, with its gradient."""

    value: Callable[[Namespace, Array, Array], Array]
    gradient: Callable[[Namespace, Array, Array], Array]


def _half_squared_error(xp: Namespace, A: Array, Y: Array) -> Array:
    """½ ‖Y − A‖²."""
    error = A - Y
    return 0.5 * xp.vecdot(error, error, axis=-2)


def _half_squared_error_gradient(xp: Namespace, A: Array, Y: Array) -> Array:
    """A − Y."""
    return A - Y


half_squared_error = Loss(_half_squared_error, _half_squared_error_gradient)

LOSSES = {"half_squared_error": half_squared_error}


def mean_loss(xp: Namespace, loss: Loss, A: Array, Y: Array) -> tuple[Array, Array]:
    """Return the loss averaged over the samples, of shape (...), and its gradient with respect to A, (..., n, m)."""
    values, dA, m = loss.value(xp, A, Y), loss.gradient(xp, A, Y), A.shape[-1]
    if m == 1:  # the mean of one number is that number, and taking it would cost a tenth of a per-sample step
        return values[..., 0], dA
    return xp.mean(values, axis=-1), dA / m
