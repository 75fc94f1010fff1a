"""Metrics: numbers that report the quality of the outputs, besides the loss.

A metric is computed chunk by chunk, so that the outputs for all samples are never in memory at once. It is a name with
two pure functions::

    state = accumulate(xp, state, A, Y, weight)    the state after one more chunk; the first state is None
    value = finish(xp, state)                      the metric, of shape (...)

A and Y are the outputs and the targets of shape (..., n, m); `weight` holds the weights of the m samples, of shape
(..., 1, m), or is None if all are equal. A custom metric is a `Metric`, or a function
``metric(xp, A, Y, weight) -> value``, which gets the outputs for all samples at once.

Names and definitions are those of scikit-learn [1]_ and Keras [2]_.

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

from xpnet._checks import as_list, function, named
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
    """A metric that is computed chunk by chunk.

    Attributes
    ----------
    name : str
        The name under which the metric is recorded.
    accumulate : callable
        ``accumulate(xp, state, A, Y, weight) -> state`` for A and Y of shape (..., n, m), and `weight` of shape
        (..., 1, m) or None. The first state is None.
    finish : callable
        ``finish(xp, state) -> value`` of shape (...).
    check : callable or None
        ``check(xp, Y)`` raises a `ValueError` if the metric is not defined for such targets.

    Examples
    --------
    A custom metric, the maximum error:

    >>> import numpy as np
    >>> from xpnet.metrics import Metric
    >>> def accumulate(xp, state, A, Y, weight):
    ...     error = xp.max(xp.abs(A - Y), axis=(-2, -1))
    ...     return error if state is None else xp.maximum(state, error)
    >>> max_error = Metric("max_error", accumulate, lambda xp, state: state)
    >>> state = max_error.accumulate(np, None, np.array([[1.0, 2.0]]), np.array([[1.5, 0.0]]), None)
    >>> float(max_error.finish(np, state))
    2.0
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
    per_sample: Callable[[Namespace, Array, Array], Array],
) -> tuple[Array, Array]:
    """Add the weighted sum of one number per sample, and the sum of the weights, each of shape (...)."""
    values = per_sample(xp, A, Y)
    weights = xp.ones_like(values) if weight is None else xp.broadcast_to(weight[..., 0, :], values.shape)
    total, total_weight = state or (0.0, 0.0)
    return total + xp.sum(values * weights, axis=-1), total_weight + xp.sum(weights, axis=-1)


def _finish_mean(xp: Namespace, state: tuple[Array, Array]) -> Array:
    """Return the weighted mean, of shape (...)."""
    total, total_weight = state
    return total / total_weight


def _mean(name: str, per_sample: Callable[[Namespace, Array, Array], Array]) -> Metric:
    """Return the metric that is the weighted mean of one number per sample."""
    return Metric(name, partial(_accumulate_mean, per_sample=per_sample), _finish_mean)


def _absolute_error(xp: Namespace, A: Array, Y: Array) -> Array:
    """Return the mean of |Y − A| over the outputs, of shape (..., m)."""
    return xp.mean(xp.abs(Y - A), axis=-2)


mean_absolute_error = _mean("mean_absolute_error", _absolute_error)
"""The mean of |Y − A| over samples and outputs."""


# ---- Accuracies


def argmax_of_outputs(xp: Namespace, A: Array) -> Array:
    """Return the number, from 1 and of shape (..., m), of the largest output, the first one if several are equal."""
    # xp.argmax returns 64-bit integers, which some devices do not have.
    numbers = xp.cumulative_sum(xp.ones_like(A), axis=-2)
    return xp.min(xp.where(xp.max(A, axis=-2, keepdims=True) == A, numbers, xp.inf), axis=-2)


def _correct_class(xp: Namespace, A: Array, Y: Array) -> Array:
    """Return 1 for each sample whose largest output is at the largest target, else 0, of shape (..., m)."""
    return xp.astype(argmax_of_outputs(xp, A) == argmax_of_outputs(xp, Y), A.dtype)


def _correct_outputs(xp: Namespace, A: Array, Y: Array, *, threshold: float) -> Array:
    """Return the fraction of correct outputs of each sample, of shape (..., m)."""
    return xp.mean(xp.astype((threshold < A) == (threshold < Y), A.dtype), axis=-2)


def _all_outputs_correct(xp: Namespace, A: Array, Y: Array, *, threshold: float) -> Array:
    """Return 1 for each sample with only correct outputs, else 0, of shape (..., m)."""
    return xp.astype(xp.all((threshold < A) == (threshold < Y), axis=-2), A.dtype)


categorical_accuracy = _mean("categorical_accuracy", _correct_class)
"""The fraction of samples whose largest output is that of the largest target."""


def binary_accuracy(threshold: float = 0.5) -> Metric:
    """Return the metric that is the fraction of outputs on the same side of a threshold as their targets.

    Parameters
    ----------
    threshold : float
        Outputs and targets above it are one class, the others the other class.

    Returns
    -------
    metric : Metric
        The metric, named "binary_accuracy".

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.metrics import binary_accuracy
    >>> metric = binary_accuracy()
    >>> A, Y = np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    >>> float(metric.finish(np, metric.accumulate(np, None, A, Y, None)))  # 3 of 4 outputs
    0.75
    """
    return _mean("binary_accuracy", partial(_correct_outputs, threshold=threshold))


def subset_accuracy(threshold: float = 0.5) -> Metric:
    """Return the metric that is the fraction of samples with all outputs on the same side of a threshold as targets.

    Parameters
    ----------
    threshold : float
        Outputs and targets above it are one class, the others the other class.

    Returns
    -------
    metric : Metric
        The metric, named "subset_accuracy".

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.metrics import subset_accuracy
    >>> metric = subset_accuracy()
    >>> A, Y = np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    >>> float(metric.finish(np, metric.accumulate(np, None, A, Y, None)))  # 1 of 2 samples
    0.5
    """
    return _mean("subset_accuracy", partial(_all_outputs_correct, threshold=threshold))


def _threshold(bounds: tuple[float, float]) -> float:
    """Return the midpoint of the bounds of the outputs, or 0.5 if they are not finite."""
    lower, upper = bounds
    return (lower + upper) / 2 if math.isfinite(lower) and math.isfinite(upper) else 0.5


def _binary(settings: Any) -> Metric:
    return binary_accuracy(_threshold(settings.bounds))


def _subset(settings: Any) -> Metric:
    return subset_accuracy(_threshold(settings.bounds))


def _categorical(settings: Any) -> Metric:
    if settings.sizes[-1] == 1:
        msg = "metrics: categorical_accuracy needs at least 2 outputs, one per class, got 1; use 'binary_accuracy'"
        raise ValueError(msg)
    return categorical_accuracy


def _class_encoding(settings: Any, what: str) -> tuple[bool, bool]:
    """Return how the outputs of a network encode classes, according to its output layer and its loss.

    With softmax, or a loss whose canonical activation is softmax, the class is the largest output. With a loss whose
    canonical activation is the sigmoid, each output is binary. With another loss and bounded outputs, the class is the
    largest of several outputs, and a single output is binary. Unbounded outputs are a regression.

    Returns
    -------
    one_of_several : bool
        Whether the class is the number of the largest output; else each output is binary.
    certain : bool
        Whether the loss implies classification; else the targets must be checked.
    """
    canonical = settings.loss.canonical and settings.loss.canonical[0]
    if settings.activations[-1] == softmax or canonical == softmax:
        return True, True
    if canonical == sigmoid:
        return False, True
    if not all(map(math.isfinite, settings.bounds)):
        lower, upper = settings.bounds
        msg = f"{what} needs a classifier, got a regression loss and outputs from {lower:g} to {upper:g}"
        raise ValueError(msg)
    return settings.sizes[-1] > 1, False


def _accuracy(settings: Any) -> Metric:
    """Return the accuracy for a network; if its loss also suits regression, the metric checks the targets."""
    one_of_several, certain = _class_encoding(settings, "metrics: accuracy")
    metric = _categorical(settings) if one_of_several else _subset(settings)
    check = None if certain else partial(_check_classes, bounds=settings.bounds, one_of_several=one_of_several)
    return metric._replace(name="accuracy", check=check)


def classes_of(xp: Namespace, A: Array, settings: Any) -> Array:
    """Return the predicted classes, as numbers, for outputs of shape (..., n, m).

    If the class is one of several, they count from 0 and have the shape (..., m). Else they are the lower or upper
    bound of each output, of shape (..., n, m), or (..., m) for a single output.
    """
    one_of_several, _ = _class_encoding(settings, "predict_classes")
    if one_of_several:
        return argmax_of_outputs(xp, A) - 1.0
    bounds = settings.bounds if all(map(math.isfinite, settings.bounds)) else (0.0, 1.0)
    low, high = bounds
    classes = low + (high - low) * xp.astype(_threshold(bounds) < A, A.dtype)
    return classes[..., 0, :] if A.shape[-2] == 1 else classes


def _check_classes(xp: Namespace, Y: Array, *, bounds: tuple[float, float], one_of_several: bool) -> None:
    """Raise a ValueError unless all targets are at a bound, and for one of several classes one-hot."""
    low, high = bounds
    classes = xp.all((low == Y) | (high == Y)) | (one_of_several & xp.all((Y == 0.0) | (high == Y)))
    if one_of_several:
        classes = classes & xp.all(xp.sum(xp.astype(high == Y, Y.dtype), axis=-2) == 1.0)
    if not bool(classes):
        form = "one-hot rows of {1:g} and {0:g} (or 0)" if one_of_several else "{:g} or {:g}"
        msg = (
            f"metrics: accuracy needs targets that are classes, {form.format(*bounds)}; use 'categorical_accuracy', "
            "'binary_accuracy' or a regression metric for other targets"
        )
        raise ValueError(msg)


# ---- R²


class _Variation(NamedTuple):
    """The state of `r2_score`: `weight` has the shape (..., 1), the others (..., n)."""

    weight: Array  # Σ w
    mean: Array  # of the targets
    total: Array  # Σ w (Y − mean)²
    residual: Array  # Σ w (Y − A)²
    minimum: Array  # of the targets
    maximum: Array


def _accumulate_variation(
    xp: Namespace, state: _Variation | None, A: Array, Y: Array, weight: Array | None
) -> _Variation:
    """Combine a chunk with the chunks before it, whose sums of squares are about a different mean.

    Chan, Golub and LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115.
    """
    Y, one = xp.broadcast_to(Y, A.shape), xp.ones_like(A[..., :1, :])
    weight = one if weight is None else xp.broadcast_to(weight, one.shape)

    def summed(values: Array) -> Array:
        return xp.sum(weight * values, axis=-1)

    chunk_weight = summed(one)
    mean = summed(Y) / xp.where(chunk_weight > 0.0, chunk_weight, 1.0)
    total = summed((Y - mean[..., None]) ** 2)
    minimum = xp.min(xp.where(weight > 0.0, Y, xp.inf), axis=-1)
    maximum = xp.max(xp.where(weight > 0.0, Y, -xp.inf), axis=-1)
    chunk = _Variation(chunk_weight, mean, total, summed((Y - A) ** 2), minimum, maximum)
    if state is None:
        return chunk
    combined = state.weight + chunk_weight
    fraction = chunk_weight / xp.where(combined > 0.0, combined, 1.0)
    difference = mean - state.mean
    return _Variation(
        combined,
        state.mean + difference * fraction,
        state.total + total + difference**2 * state.weight * fraction,
        state.residual + chunk.residual,
        xp.minimum(state.minimum, chunk.minimum),
        xp.maximum(state.maximum, chunk.maximum),
    )


def _finish_r2(xp: Namespace, state: _Variation) -> Array:
    """Return R², averaged over the outputs, of shape (...)."""
    varies = state.maximum > state.minimum
    score = 1.0 - state.residual / xp.where(varies, state.total, 1.0)
    return xp.mean(xp.where(varies, score, xp.astype(state.residual == 0.0, score.dtype)), axis=-1)


r2_score = Metric("r2_score", _accumulate_variation, _finish_r2)
"""R² = 1 − Σ (Y − A)² / Σ (Y − Ȳ)², averaged over the outputs.

For an output with constant targets it is 1 if all predictions are exact, else 0, as in scikit-learn (where rounding of
the mean can change it).
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
"""For each name, a function that returns the metric for the settings of a network."""


def _of_all(metric: Callable[[Namespace, Array, Array, Array | None], Array]) -> Metric:
    """Return the metric of a function of all outputs, which keeps the outputs of all chunks."""

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
    """Return a custom metric; raise a TypeError if one of its parts is of the wrong type."""
    if not isinstance(metric.name, str):
        msg = f"metrics: the name of a Metric must be a string, got {repr(metric.name)}"
        raise TypeError(msg)
    function(f"metrics: {metric.name}.accumulate", metric.accumulate, "(xp, state, A, Y, weight)")
    function(f"metrics: {metric.name}.finish", metric.finish, "(xp, state)")
    if metric.check is not None:
        function(f"metrics: {metric.name}.check", metric.check, "(xp, Y)")
    return metric


def metrics_by_name(metrics: Any, settings: Any) -> dict[str, Metric]:
    """Return one or several metrics, built-in or custom, by name, for the settings of a network."""
    if metrics is None:
        return {}
    if isinstance(metrics, (str, Metric)) or callable(metrics):
        metrics = [metrics]
    by_name: dict[str, Metric] = {}
    for given in as_list("metrics must be a list of names and functions", metrics):
        if isinstance(given, Metric):
            metric = _checked(given)
        elif isinstance(given, str):
            metric = named("metrics", given, METRICS, Callable)(settings)
        else:
            custom = named("metrics", given, METRICS, Callable)
            metric = _of_all(function("metrics: a metric", custom, "(xp, A, Y, weight)"))
        name = metric.name
        if name == "loss" or name.startswith("validation_") or name in by_name:
            msg = f"metrics must have names that are not yet recorded, got {name!r}; rename the metric"
            raise ValueError(msg)
        by_name[name] = metric
    return by_name
