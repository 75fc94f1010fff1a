"""What to learn from, and what to measure a training on: samples, targets, and how much each counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from xpnet import validation
from xpnet._types import Array
from xpnet.backends import HOST, Backend, Stream, random_stream
from xpnet.metrics import Metric
from xpnet.transfer import Transfer

host = HOST.xp


class Samples(NamedTuple):
    """Samples as rows: X (..., N, n_0), Y (..., N, n_L), and how much each counts, (..., N, 1), 1 on average, or None.

    Leading axes are networks; an array without them is shared.
    """

    X: Array
    Y: Array
    weight: Array | None

    @property
    def size(self) -> int:
        """How many samples."""
        return int(self.X.shape[-2])

    def split(self, backend: Backend, fraction: float) -> tuple[Samples, Samples]:
        """Return two parts, of which the second holds a fraction of the samples: for N samples always the same ones."""
        validating = round(self.size * fraction) or 1
        if validating >= self.size:
            msg = f"validation_split of {fraction:g} leaves nothing to learn from {self.size} samples"
            raise ValueError(msg)
        order = random_stream(0, Stream.VALIDATION).permutation(self.size)
        learned, held_out = host.sort(order[validating:]), host.sort(order[:validating])
        return self._take(backend, learned), self._take(backend, held_out)

    def first(self, count: int) -> Samples:
        """Return the first few samples, without their weights."""
        count = min(count, self.size)
        return Samples(self.X[..., :count, :], self.Y[..., :count, :], None)

    def _take(self, backend: Backend, numbers: Any) -> Samples:
        xp, indices = backend.xp, backend.asarray(numbers, "int32")
        X, Y = (xp.take(array, indices, axis=-2) for array in (self.X, self.Y))
        return Samples(X, Y, None if self.weight is None else _of_mean_one(xp, xp.take(self.weight, indices, axis=-2)))

    def weighted_by_class(self, backend: Backend, class_weight: Any, dtype: str) -> Samples:
        """Return the same samples, weighted by their classes too: a mapping of labels to weights, or "balanced"."""
        xp, targets = backend.xp, self.Y
        members = targets if targets.shape[-1] > 1 else xp.concat([1.0 - targets, targets], axis=-1)
        balanced = isinstance(class_weight, str) and class_weight == "balanced"
        given = None if balanced else validation.class_weights(class_weight, members.shape[-1], dtype)
        if not bool(xp.all((members == 0.0) | (members == 1.0))) or not bool(xp.all(xp.sum(members, axis=-1) == 1.0)):
            msg = "class_weight needs targets that name one class each: labels, or rows of a 1 and zeros"
            raise ValueError(msg)
        if given is not None:
            each = backend.asarray(given, dtype)
        else:
            counted = members if self.weight is None else members * self.weight
            count = xp.sum(counted, axis=-2, keepdims=True)
            classes = xp.sum(xp.astype(count > 0.0, count.dtype), axis=-1, keepdims=True)
            each = members.shape[-2] / (classes * xp.where(count > 0.0, count, 1.0))
        weight = xp.sum(members * each, axis=-1, keepdims=True)
        return self._replace(weight=_of_mean_one(xp, weight if self.weight is None else self.weight * weight))

    def columns(self, networks: tuple[Any, ...] = (...,)) -> tuple[Array, Array, Array | None]:
        """Return X, Y and the weights with a sample a column, for some of the networks."""
        own = [array if array is None or array.ndim < 3 else array[networks] for array in self]
        X, Y, weight = (array if array is None else array.mT for array in own)
        return X, Y, weight


def _of_mean_one(xp: Any, weight: Array) -> Array:
    mean = xp.mean(weight, axis=-2, keepdims=True)
    if not bool(xp.all((mean > 0.0) & xp.isfinite(mean))):
        msg = "the weights of the samples, or of those to learn from or for validation, are all zero or too great"
        raise ValueError(msg)
    return weight / mean


def bring_samples(
    data: Transfer,
    given: Mapping[str, Any],
    layer_list: list[int],
    bounds: tuple[float, float],
    ensemble: int | None = None,
) -> Samples:
    """Return what to learn from as rows, given X, y, and the weights of the samples or None, each by its name.

    Targets of shape (N,) or (N, 1) for several outputs, or of shape (E, N, 1) for each network of an ensemble, are
    labels, and become rows of a 1 and zeros. All targets have to lie within the bounds.
    """
    (X_name, X), (y_name, y), (weight_name, sample_weight) = given.items()
    xp, n_0, n_L = data.backend.xp, layer_list[0], layer_list[-1]
    rows = validation.sample_rows(xp, X_name, data.to_network(X_name, X), n_0, "first layer", ensemble)
    targets, N = data.to_network(y_name, y), int(rows.shape[-2])
    if n_L > 1 and targets.shape and 0 not in targets.shape:
        lead = targets.shape[: 2 if validation.is_one_each(targets.shape, ensemble, n_L, N) else 1]
        if math.prod(targets.shape) == math.prod(lead):
            validation.labels(xp, y_name, targets, n_L)
            targets = xp.reshape(targets, (*lead, 1))
            targets = xp.astype(targets == data.backend.asarray(range(n_L), data.dtype), targets.dtype)
    targets = validation.sample_rows(xp, y_name, targets, n_L, "last layer", ensemble, N)
    if targets.shape[-2] != N:
        msg = f"{X_name} has {N} samples, but {y_name} has {targets.shape[-2]}"
        raise ValueError(msg)
    validation.within(xp, y_name, targets, bounds)
    weight = None
    if sample_weight is not None:
        weight = data.to_network(weight_name, sample_weight)
        shapes = [(N,)] if ensemble is None else [(N,), (ensemble, N)]
        if tuple(weight.shape) not in shapes:
            msg = f"{weight_name} must have the shape {' or '.join(map(str, shapes))}, got {tuple(weight.shape)}"
            raise ValueError(msg)
        validation.finite_array(xp, weight_name, weight)
        if bool(xp.any(weight < 0.0)):
            msg = f"{weight_name} must not be negative"
            raise ValueError(msg)
        weight = _of_mean_one(xp, weight[..., None])
    return Samples(rows, targets, weight)


class TrainingData(NamedTuple):
    """All that a training takes.

    `measured` is what it learns from without the weights of classes: figures for people are of the samples as they are.
    """

    backend: Backend
    samples: Samples
    measured: Samples
    held_out: Samples | None
    metrics: dict[str, Metric]


def named_validation_data(validation_data: Any) -> dict[str, Any]:
    """Return what was given as (X, y) or (X, y, sample_weight) by the names to call it, or nothing."""
    if validation_data is None:
        return {}
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        msg = "validation_data must be a tuple (X, y) or (X, y, sample_weight)"
        raise TypeError(msg)
    names = (f"{name} of validation_data" for name in ("X", "y", "sample_weight"))
    return dict(zip(names, [*validation_data, None], strict=False))
