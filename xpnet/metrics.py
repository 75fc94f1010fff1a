"""Metrics: how well a network answers, in figures for people.

A metric is a pure function ``metric(xp, A, Y, weight) -> figure`` of what the network answers, A, and what it should,
Y, both of shape (..., n, m), and of how much every sample counts: a weight of shape (..., 1, m), 1 on average, or None.
The figure has the shape (...).

Names and definitions are scikit-learn's, https://scikit-learn.org/stable/modules/model_evaluation.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from xpnet._checks import named
from xpnet._types import Array, Namespace

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "mean_absolute_error",
    "r2_score",
]

Metric: TypeAlias = Callable[[Namespace, Array, Array, Array | None], Array]


def _mean(xp: Namespace, values: Array, weight: Array | None) -> Array:
    """Return the mean over the samples, of shape (..., n, 1)."""
    return xp.mean(values if weight is None else values * weight, axis=-1, keepdims=True)


def _greatest(xp: Namespace, A: Array) -> Array:
    """Return the number of the greatest output, the first of several: argmax, whose 64 bits not every device has."""
    numbers = xp.cumulative_sum(xp.ones_like(A), axis=-2)
    return xp.min(xp.where(xp.max(A, axis=-2, keepdims=True) == A, numbers, xp.inf), axis=-2, keepdims=True)


def accuracy(xp: Namespace, A: Array, Y: Array, weight: Array | None = None) -> Array:
    """Return the fraction of samples whose class is right.

    Where the targets of every sample add up to 1, its class is the greatest output. Else, and where there is one
    output, each output says yes above one half, and all of them have to be right.
    """
    right = xp.all((A > 0.5) == (Y > 0.5), axis=-2, keepdims=True)
    if A.shape[-2] > 1:
        one_class = xp.all(xp.abs(xp.sum(Y, axis=-2, keepdims=True) - 1.0) < 1e-3, axis=-1, keepdims=True)
        right = xp.where(one_class, _greatest(xp, A) == _greatest(xp, Y), right)
    return _mean(xp, xp.astype(right, A.dtype), weight)[..., 0, 0]


def r2_score(xp: Namespace, A: Array, Y: Array, weight: Array | None = None) -> Array:
    """Return R² = 1 − Σ (Y − A)² / Σ (Y − Ȳ)², averaged over the outputs.

    Of an output whose targets are all the same it is 1 where every answer is right, and else 0; scikit-learn says so
    too, but for what rounding makes of their mean.
    """
    left = _mean(xp, (Y - A) ** 2, weight)[..., 0]
    total = _mean(xp, (Y - _mean(xp, Y, weight)) ** 2, weight)[..., 0]
    varies = xp.max(Y, axis=-1) > xp.min(Y, axis=-1)
    score = 1.0 - left / xp.where(varies, total, 1.0)
    constant = xp.astype(left == 0.0, A.dtype)
    return xp.mean(xp.where(varies, score, constant), axis=-1)


def mean_absolute_error(xp: Namespace, A: Array, Y: Array, weight: Array | None = None) -> Array:
    """Return the mean of |Y − A| over samples and outputs."""
    return xp.mean(_mean(xp, xp.abs(Y - A), weight)[..., 0], axis=-1)


METRICS = {"accuracy": accuracy, "r2_score": r2_score, "mean_absolute_error": mean_absolute_error}


def metrics_by_name(metrics: Any) -> dict[str, Metric]:
    """Return one or several metrics, known ones by name and a user's own, by what they are called."""
    if metrics is None:
        return {}
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    elif not isinstance(metrics, (list, tuple)):
        msg = f"metrics must be a list of names and functions, got {metrics!r}"
        raise TypeError(msg)
    by_name: dict[str, Metric] = {}
    for metric in metrics:
        function = named("metric", metric, METRICS, Callable)
        name = metric if isinstance(metric, str) else str(getattr(metric, "__name__", type(metric).__name__))
        if name == "loss" or name.startswith("validation_") or name in by_name:
            msg = f"there is something recorded as {name!r} already: give a function of another __name__"
            raise ValueError(msg)
        by_name[name] = function
    return by_name
