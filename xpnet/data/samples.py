"""Samples: what to train on, and what to measure it on; checked, as rows, and each with its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from reprlib import repr
from typing import Any, NamedTuple

from xpnet._checks import finite_array, is_number, number_from_zero
from xpnet._types import Array
from xpnet.backends import HOST, Backend, Stream, random_stream
from xpnet.data.placement import Transfer

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
        given = None if balanced else _class_weights(class_weight, members.shape[-1], dtype)
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


def bring_samples(transfer: Transfer, given: Mapping[str, Any], settings: Any) -> Samples:
    """Return samples as rows, checked and where the network computes.

    Targets of shape (N,) or (N, 1) for several outputs, or of shape (E, N, 1) for each network of an ensemble, are
    labels, and become one-hot rows.

    Parameters
    ----------
    transfer : Transfer
        From where the data is to where the network computes.
    given : mapping of str to array
        X, y, and the weights of the samples or None, each by the name that errors call it.
    settings : Settings
        Of the network: its `layer_list` and `ensemble`, and the `bounds` within which targets must lie.
    """
    layer_list, ensemble = settings.layer_list, settings.ensemble
    (X_name, X), (y_name, y), (weight_name, sample_weight) = given.items()
    xp, n_0, n_L = transfer.backend.xp, layer_list[0], layer_list[-1]
    rows = sample_rows(xp, X_name, transfer.to_network(X_name, X), n_0, "first layer", ensemble)
    targets, N = transfer.to_network(y_name, y), int(rows.shape[-2])
    if n_L > 1 and targets.shape and 0 not in targets.shape:
        lead = targets.shape[: 2 if _is_one_each(targets.shape, ensemble, n_L, N) else 1]
        if math.prod(targets.shape) == math.prod(lead):
            _check_labels(xp, y_name, targets, n_L)
            targets = xp.reshape(targets, (*lead, 1))
            targets = xp.astype(targets == transfer.backend.asarray(range(n_L), transfer.dtype), targets.dtype)
    targets = sample_rows(xp, y_name, targets, n_L, "last layer", ensemble, N)
    if targets.shape[-2] != N:
        msg = f"{X_name} has {N} samples, but {y_name} has {targets.shape[-2]}"
        raise ValueError(msg)
    _check_within(xp, y_name, targets, settings.bounds)
    weight = None
    if sample_weight is not None:
        weight = transfer.to_network(weight_name, sample_weight)
        shapes = [(N,)] if ensemble is None else [(N,), (ensemble, N)]
        if tuple(weight.shape) not in shapes:
            msg = f"{weight_name} must have the shape {' or '.join(map(str, shapes))}, got {tuple(weight.shape)}"
            raise ValueError(msg)
        finite_array(xp, weight_name, weight)
        if bool(xp.any(weight < 0.0)):
            msg = f"{weight_name} must not be negative"
            raise ValueError(msg)
        weight = _of_mean_one(xp, weight[..., None])
    return Samples(rows, targets, weight)


def _is_one_each(shape: tuple[int, ...], ensemble: int | None, units: int, samples: int | None) -> bool:
    """Say whether a shape is (E, N, ...), one set for each network, and not the document's (N, units, 1)."""
    if ensemble is None or len(shape) != 3 or shape[0] != ensemble:
        return False
    return tuple(shape[1:]) != (units, 1) or (samples is not None and samples == shape[1] != shape[0])


def sample_rows(
    xp: Any, name: str, array: Array, units: int, layer: str, ensemble: int | None = None, samples: int | None = None
) -> Array:
    """Return finite samples as rows, of shape (N, units), or (E, N, units) where each network has its own.

    Parameters
    ----------
    xp : module
        The array API namespace of the array.
    name : str
        What the caller calls it.
    array : array of shape (N, units), (N, units, 1), or (N,) where there is one unit
        The samples.
    units : int
        The size of the layer that they go to.
    layer : str
        What to call that layer.
    ensemble : int, optional
        How many networks there are; an array of shape (E, N, units) is then one set for each of them, unless it is also
        one of (N, units, 1).
    samples : int, optional
        How many samples there should be, which tells such shapes apart.
    """
    came = tuple(array.shape)
    own = _is_one_each(came, ensemble, units, samples)
    if array.ndim not in (1, 2, 3) or (array.ndim == 3 and came[2] != (units if own else 1)):
        forms = [
            f"(N, {units})",
            f"(N, {units}, 1)",
            *["(N,)"] * (units == 1),
            *[f"({ensemble}, N, {units})"] * bool(ensemble),
        ]
        msg = f"{name} must have the shape {', '.join(forms[:-1])} or {forms[-1]}, got {came}"
        raise ValueError(msg)
    if 0 in came:
        msg = f"{name} is empty: its shape is {came}"
        raise ValueError(msg)
    features = came[-1] if own else came[1] if array.ndim > 1 else 1
    if features != units:
        msg = f"{name} has the shape {came}, that is {features} a sample, but the {layer} has size {units}"
        raise ValueError(msg)
    finite_array(xp, name, array)
    return array if own else xp.reshape(array, (came[0], units))


def _check_labels(xp: Any, name: str, array: Array, classes: int) -> None:
    """Make sure that an array holds the numbers of classes, counted from 0."""
    finite_array(xp, name, array)
    least, greatest = float(xp.min(array)), float(xp.max(array))
    if least < 0 or greatest > classes - 1 or not bool(xp.all(xp.round(array) == array)):
        msg = (
            f"{name} of shape {tuple(array.shape)} holds labels of {classes} classes, whole numbers from 0 to "
            f"{classes - 1}, but it reaches from {least:g} to {greatest:g} or holds fractions"
        )
        raise ValueError(msg)


def _check_within(xp: Any, name: str, array: Array, bounds: tuple[float, float]) -> None:
    """Make sure that targets lie where the last activation can reach, rounding aside."""
    least, greatest = float(xp.min(array)), float(xp.max(array))
    if least < bounds[0] - 1e-6 or greatest > bounds[1] + 1e-6:
        msg = (
            f"{name} reaches from {least} to {greatest}, but the activation of the last layer only from "
            f"{bounds[0]:g} to {bounds[1]:g}: scale the targets (labels count from 0), or end activations with "
            "'identity' where the loss allows it"
        )
        raise ValueError(msg)


def _class_weights(value: Any, classes: int, dtype: str) -> list[float]:
    """Return the weights of the classes, 1 for those that are not named."""
    if not isinstance(value, Mapping):
        msg = f"class_weight must be 'balanced' or a mapping of labels to weights, got {repr(value)}"
        raise TypeError(msg)
    for label in value:
        if not is_number(label) or label not in range(classes):
            msg = f"class_weight names the class {repr(label)}, but the labels are 0 to {classes - 1}"
            raise ValueError(msg)
    return [number_from_zero(f"class_weight[{c}]", value.get(c, 1.0), dtype) for c in range(classes)]


class TrainingData(NamedTuple):
    """What a training learns from, and what it is measured on.

    Attributes
    ----------
    backend : Backend
        Where all of it is.
    samples : Samples
        To learn from.
    measured : Samples
        The same without the weights of classes, for the metrics.
    held_out : Samples or None
        For validation.
    """

    backend: Backend
    samples: Samples
    measured: Samples
    held_out: Samples | None

    def first(self, count: int) -> TrainingData:
        """Return the first few samples of each."""
        held_out = self.held_out and self.held_out.first(count)
        return TrainingData(self.backend, self.samples.first(count), self.measured.first(count), held_out)


def bring_training_data(
    transfer: Transfer,
    given: Mapping[str, Any],
    validation_data: Mapping[str, Any],
    settings: Any,
    *,
    validation_split: float,
    class_weight: Any,
) -> TrainingData:
    """Return all data of a training where the network computes, from samples and those for validation, or none.

    Parameters
    ----------
    transfer, given, settings
        As for `bring_samples`.
    validation_data : mapping
        Like `given`, or empty.
    validation_split : float
        The fraction of the samples to hold out for validation.
    class_weight : mapping of label to weight, "balanced" or None
        How much the samples of a class count in training.
    """
    backend = transfer.backend
    with backend.on_device():
        measured = bring_samples(transfer, given, settings)
        held_out = bring_samples(transfer, validation_data, settings) if validation_data else None
        if validation_split:
            measured, held_out = measured.split(backend, validation_split)
        samples = measured
        if class_weight is not None:
            samples = measured.weighted_by_class(backend, class_weight, transfer.dtype)
    return TrainingData(backend, samples, measured, held_out)


def named_validation_data(validation_data: Any) -> dict[str, Any]:
    """Return what was given as (X, y) or (X, y, sample_weight) by the names to call it, or nothing."""
    if validation_data is None:
        return {}
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        msg = "validation_data must be a tuple (X, y) or (X, y, sample_weight)"
        raise TypeError(msg)
    names = (f"{name} of validation_data" for name in ("X", "y", "sample_weight"))
    return dict(zip(names, [*validation_data, None], strict=False))
