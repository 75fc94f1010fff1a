"""Metrics: how good the outputs of a network are, in numbers for people.

A metric goes through the samples slice by slice, so that the outputs for all of them are never held at once. It is a
name with a pair of pure functions::

    state = accumulate(xp, state, A, Y, weight)    what is known after one more slice; the first state is None
    value = finish(xp, state)                      the metric, of shape (...)

of the outputs A and the targets Y, both of shape (..., n, m), and of how much each of the m samples counts: a weight of
shape (..., 1, m), or None where all count alike. A plain function ``metric(xp, A, Y, weight) -> value`` will do, too,
and gets all outputs at once.

Names and definitions are scikit-learn's [1]_ and Keras's [2]_.

References
----------
.. [1] https://scikit-learn.org/stable/modules/model_evaluation.html
.. [2] https://keras.io/api/metrics/accuracy_metrics/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from reprlib import repr
from typing import Any, NamedTuple

from xpnet._checks import function, listed, named
from xpnet._types import Array, Namespace
from xpnet.activations import sigmoid, softmax

__all__ = [
    "METRICS",
    "Metric",
    "binary_accuracy",
    "categorical_accuracy",
    "mean_absolute_error",
    "r2_score",
    "subset_accuracy",
]


class Metric(NamedTuple):
    """What is measured beside the loss.

    It may also have a function ``check(xp, Y)`` that raises a `ValueError` where it means nothing for such targets.
    """

    name: str
    accumulate: Callable[[Namespace, Any, Array, Array, Array | None], Any]
    finish: Callable[[Namespace, Any], Array]
    check: Callable[[Namespace, Array], None] | None = None


# ---- Means over the samples


def _accumulate_mean(
    xp: Namespace,
    state: Any,
    A: Array,
    Y: Array,
    weight: Array | None,
    *,
    of_each: Callable[[Namespace, Array, Array], Array],
) -> tuple[Array, Array]:
    """Add up a number of each sample, of shape (..., m), and how much the samples count."""
    values = of_each(xp, A, Y)
    counts = xp.ones_like(values) if weight is None else xp.broadcast_to(weight[..., 0, :], values.shape)
    total, count = state or (0.0, 0.0)
    return total + xp.sum(values * counts, axis=-1), count + xp.sum(counts, axis=-1)


def _finish_mean(xp: Namespace, state: tuple[Array, Array]) -> Array:
    total, count = state
    return total / count


def _mean(name: str, of_each: Callable[[Namespace, Array, Array], Array]) -> Metric:
    return Metric(name, partial(_accumulate_mean, of_each=of_each), _finish_mean)


def _error_of_each(xp: Namespace, A: Array, Y: Array) -> Array:
    return xp.mean(xp.abs(Y - A), axis=-2)


mean_absolute_error = _mean("mean_absolute_error", _error_of_each)
"""The mean of |Y − A| over samples and outputs."""


# ---- Accuracies


def _greatest(xp: Namespace, A: Array) -> Array:
    """Return the number of the greatest output, the first of several: argmax, whose 64 bits not every device has."""
    numbers = xp.cumulative_sum(xp.ones_like(A), axis=-2)
    return xp.min(xp.where(xp.max(A, axis=-2, keepdims=True) == A, numbers, xp.inf), axis=-2)


def _right_class(xp: Namespace, A: Array, Y: Array) -> Array:
    return xp.astype(_greatest(xp, A) == _greatest(xp, Y), A.dtype)


def _right_sides(xp: Namespace, A: Array, Y: Array, *, threshold: float) -> Array:
    return xp.mean(xp.astype((threshold < A) == (threshold < Y), A.dtype), axis=-2)


def _all_right_sides(xp: Namespace, A: Array, Y: Array, *, threshold: float) -> Array:
    return xp.astype(xp.all((threshold < A) == (threshold < Y), axis=-2), A.dtype)


categorical_accuracy = _mean("categorical_accuracy", _right_class)
"""The fraction of samples whose greatest output is that of the greatest target."""


def binary_accuracy(threshold: float = 0.5) -> Metric:
    """Return the fraction of outputs that are on the same side of a threshold as their targets."""
    return _mean("binary_accuracy", partial(_right_sides, threshold=threshold))


def subset_accuracy(threshold: float = 0.5) -> Metric:
    """Return the fraction of samples all of whose outputs are on the same side of a threshold as their targets."""
    return _mean("subset_accuracy", partial(_all_right_sides, threshold=threshold))


def _middle(bounds: tuple[float, float]) -> float:
    least, greatest = bounds
    return (least + greatest) / 2 if math.isfinite(least) and math.isfinite(greatest) else 0.5


def _binary(settings: Any) -> Metric:
    return binary_accuracy(_middle(settings.bounds))


def _subset(settings: Any) -> Metric:
    return subset_accuracy(_middle(settings.bounds))


def _categorical(settings: Any) -> Metric:
    if settings.layer_list[-1] == 1:
        msg = "metrics: categorical_accuracy needs several outputs, one for each class; for one it is binary_accuracy"
        raise ValueError(msg)
    return categorical_accuracy


def _choice(settings: Any, what: str) -> tuple[bool, bool]:
    """Return what the last layer and the loss of a network say of classes.

    With softmax, or a loss that belongs to it, the class is the greatest output. With a loss that belongs to the
    sigmoid each output is a yes or a no. Where another loss compares outputs that have bounds, the one that should
    reach its upper bound is the class, or a single output says yes above the middle. Outputs without bounds are none.

    Returns
    -------
    one_of_several : bool
        Whether the class is the number of an output, instead of a yes or a no of each.
    certain : bool
        Whether that is so for whatever targets the loss takes.
    """
    belongs_to = settings.loss.canonical and settings.loss.canonical[0]
    if settings.activations[-1] == softmax or belongs_to == softmax:
        return True, True
    if belongs_to == sigmoid:
        return False, True
    if not all(map(math.isfinite, settings.bounds)):
        least, greatest = settings.bounds
        msg = (
            f"{what} means nothing for outputs that are not classes, those of a last layer that reaches from {least:g} "
            f"to {greatest:g}, and of a loss for numbers"
        )
        raise ValueError(msg)
    return settings.layer_list[-1] > 1, False


def _accuracy(settings: Any) -> Metric:
    """Return what accuracy means for a network; where its loss is one for numbers too, targets have to be classes."""
    one_of_several, certain = _choice(settings, "metrics: accuracy")
    metric = _categorical(settings) if one_of_several else _subset(settings)
    check = None if certain else partial(_check_classes, bounds=settings.bounds, several=one_of_several)
    return metric._replace(name="accuracy", check=check)


def classes_of(xp: Namespace, A: Array, settings: Any) -> Array:
    """Return the classes that outputs of shape (..., n, m) stand for, as numbers: what accuracy compares.

    Where the class is one of several they have the shape (..., m) and count from 0. Else each output is at its lower or
    its upper bound, and they have the shape (..., n, m), or of one output (..., m).
    """
    one_of_several, _ = _choice(settings, "predict_classes")
    if one_of_several:
        return _greatest(xp, A) - 1.0
    bounds = settings.bounds if all(map(math.isfinite, settings.bounds)) else (0.0, 1.0)
    low, high = bounds
    sides = low + (high - low) * xp.astype(_middle(bounds) < A, A.dtype)
    return sides[..., 0, :] if A.shape[-2] == 1 else sides


def _check_classes(xp: Namespace, Y: Array, *, bounds: tuple[float, float], several: bool) -> None:
    """Make sure that all targets are classes: at a bound, and of several outputs just one at the upper bound."""
    low, high = bounds
    classes = xp.all((low == Y) | (high == Y)) | (several & xp.all((Y == 0.0) | (high == Y)))
    if several:
        classes = classes & xp.all(xp.sum(xp.astype(high == Y, Y.dtype), axis=-2) == 1.0)
    if not bool(classes):
        are = "rows of one {1:g} and else {0:g}, or 0" if several else "{:g} or {:g}"
        msg = (
            f"metrics: accuracy means nothing for these targets, which are no classes, {are.format(*bounds)}; ask for "
            "'categorical_accuracy' or 'binary_accuracy', or for a metric of numbers"
        )
        raise ValueError(msg)


# ---- R²


class _Variation(NamedTuple):
    """What `r2_score` knows of the slices so far, of shape (..., 1), and (..., n) but for the first."""

    count: Array
    mean: Array  # of the targets
    total: Array  # Σ (Y − mean)²
    left: Array  # Σ (Y − A)²
    least: Array
    greatest: Array


def _accumulate_variation(
    xp: Namespace, state: _Variation | None, A: Array, Y: Array, weight: Array | None
) -> _Variation:
    """Join a slice to those before, whose squares are taken around a mean of their own.

    How the two come together is Chan, Golub and LeVeque's, https://doi.org/10.1080/00031305.1983.10483115.
    """
    Y, one = xp.broadcast_to(Y, A.shape), xp.ones_like(A[..., :1, :])
    weight = one if weight is None else xp.broadcast_to(weight, one.shape)

    def summed(values: Array) -> Array:
        return xp.sum(weight * values, axis=-1)

    count = summed(one)
    mean = summed(Y) / xp.where(count > 0.0, count, 1.0)
    total = summed((Y - mean[..., None]) ** 2)
    least = xp.min(xp.where(weight > 0.0, Y, xp.inf), axis=-1)
    greatest = xp.max(xp.where(weight > 0.0, Y, -xp.inf), axis=-1)
    mine = _Variation(count, mean, total, summed((Y - A) ** 2), least, greatest)
    if state is None:
        return mine
    both = state.count + count
    share = count / xp.where(both > 0.0, both, 1.0)
    apart = mean - state.mean
    return _Variation(
        both,
        state.mean + apart * share,
        state.total + total + apart**2 * state.count * share,
        state.left + mine.left,
        xp.minimum(state.least, mine.least),
        xp.maximum(state.greatest, mine.greatest),
    )


def _finish_r2(xp: Namespace, state: _Variation) -> Array:
    varies = state.greatest > state.least
    score = 1.0 - state.left / xp.where(varies, state.total, 1.0)
    return xp.mean(xp.where(varies, score, xp.astype(state.left == 0.0, score.dtype)), axis=-1)


r2_score = Metric("r2_score", _accumulate_variation, _finish_r2)
"""R² = 1 − Σ (Y − A)² / Σ (Y − Ȳ)², averaged over the outputs.

Of an output whose targets are all the same it is 1 where every output is right, and else 0; scikit-learn says so too,
but for what rounding makes of their mean.
"""


# ---- Metrics by name

METRICS: dict[str, Callable[[Any], Metric]] = {
    "accuracy": _accuracy,
    "binary_accuracy": _binary,
    "categorical_accuracy": _categorical,
    "subset_accuracy": _subset,
    "r2_score": lambda settings: r2_score,
    "mean_absolute_error": lambda settings: mean_absolute_error,
}
"""For each name a function of the settings of a network, which says what the metric means for it."""


def _of_all(metric: Callable[[Namespace, Array, Array, Array | None], Array]) -> Metric:
    """Return the metric that a plain function of all outputs is."""

    def accumulate(xp: Namespace, state: Any, A: Array, Y: Array, weight: Array | None) -> Any:
        return [*(state or []), (A, Y, weight)]

    def finish(xp: Namespace, state: Any) -> Array:
        A, Y, weight = (
            arrays[0] if len(arrays) == 1 or arrays[0] is None else xp.concat(arrays, axis=-1)
            for arrays in zip(*state, strict=True)
        )
        return metric(xp, A, Y, weight)

    return Metric(str(getattr(metric, "__name__", type(metric).__name__)), accumulate, finish)


def _checked(metric: Metric) -> Metric:
    if not isinstance(metric.name, str):
        msg = f"metrics: the name of a Metric must be a string, got {repr(metric.name)}"
        raise TypeError(msg)
    function(f"metrics: {metric.name}.accumulate", metric.accumulate, "(xp, state, A, Y, weight)")
    function(f"metrics: {metric.name}.finish", metric.finish, "(xp, state)")
    if metric.check is not None:
        function(f"metrics: {metric.name}.check", metric.check, "(xp, Y)")
    return metric


def metrics_by_name(metrics: Any, settings: Any) -> dict[str, Metric]:
    """Return one or several metrics by name: known ones, and custom ones, for a network of such settings."""
    if metrics is None:
        return {}
    if isinstance(metrics, (str, Metric)) or callable(metrics):
        metrics = [metrics]
    by_name: dict[str, Metric] = {}
    for given in listed("metrics must be a list of names and functions", metrics):
        if isinstance(given, Metric):
            metric = _checked(given)
        elif isinstance(given, str):
            metric = named("metrics", given, METRICS, Callable)(settings)
        else:
            custom = named("metrics", given, METRICS, Callable)
            metric = _of_all(function("metrics: a metric", custom, "(xp, A, Y, weight)"))
        name = metric.name
        if name == "loss" or name.startswith("validation_") or name in by_name:
            msg = f"metrics: something is recorded as {name!r} already: give the metric another name"
            raise ValueError(msg)
        by_name[name] = metric
    return by_name
