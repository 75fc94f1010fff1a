"""Validation of the data that users pass, and its conversion to samples on the network's backend."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from xpnet._checks import type_name
from xpnet._types import Array
from xpnet.backends import HOST, Backend, HoldsText, backend_of
from xpnet.data.placement import Transfer, bring
from xpnet.data.samples import BLOCK, LABEL_TYPES, Form, Samples

host = HOST.xp


def bring_samples(transfer: Transfer, given: Mapping[str, Any], settings: Any) -> Samples:
    """Validate data and return it as samples on the network's backend.

    For several outputs, targets of shape (N,) or (N, 1), or (E, N, 1) for the networks of an ensemble, are labels.

    Parameters
    ----------
    transfer : Transfer
        The transfer from the caller's backend to the network's.
    given : mapping of str to array
        X, y, and the weights of the samples or None, by the names that errors call them.
    settings : Settings
        The settings of the network: its `sizes` and `ensemble`, and the `bounds` of the targets.
    """
    sizes, ensemble, dtype = settings.sizes, settings.ensemble, transfer.dtype
    (X_name, X), (y_name, y), (weight_name, sample_weight) = given.items()
    xp, n_0, n_L = transfer.backend.xp, sizes[0], sizes[-1]
    rows = sample_rows(X_name, brought(transfer, X_name, X), n_0, "input layer", ensemble)
    X_range = extent(xp, X_name, rows, dtype)
    targets, N, classes = brought(transfer, y_name, y), int(rows.shape[-2]), None
    y_shape = tuple(targets.shape)
    if n_L > 1 and targets.shape and 0 not in targets.shape:
        label_shape = targets.shape[: 2 if _has_network_axis(targets.shape, ensemble, n_L, N) else 1]
        if math.prod(targets.shape) == math.prod(label_shape):
            _check_labels(xp, y_name, targets, n_L, dtype)
            targets, classes = xp.reshape(targets, (*label_shape, 1)), n_L
    if classes is None:
        targets = sample_rows(y_name, targets, n_L, "output layer", ensemble, N)
        _check_within(xp, y_name, targets, extent(xp, y_name, targets, dtype), settings.bounds)
    elif not settings.bounds[0] <= 0.0 <= 1.0 <= settings.bounds[1]:
        lower, upper = settings.bounds
        msg = (
            f"the outputs must include 0 and 1 if {y_name} holds labels, got an activation of the output layer from "
            f"{lower:g} to {upper:g}"
        )
        raise ValueError(msg)
    if targets.shape[-2] != N:
        msg = f"{X_name} and {y_name} must have the same number of samples, got {N} and {targets.shape[-2]}"
        raise ValueError(msg)
    weight = None
    if sample_weight is not None:
        weight = transfer.to_network(weight_name, sample_weight)
        shapes = [(N,)] if ensemble is None else [(N,), (ensemble, N)]
        if tuple(weight.shape) not in shapes:
            msg = f"{weight_name} must have the shape {' or '.join(map(str, shapes))}, got {tuple(weight.shape)}"
            raise ValueError(msg)
        minimum, _ = extent(xp, weight_name, weight, dtype)
        if minimum < 0.0:
            msg = f"{weight_name} must not be negative, got {minimum:g}"
            raise ValueError(msg)
    form = Form(len(y_shape) - _has_network_axis(y_shape, ensemble, n_L, N), _label_type(y))
    samples = Samples(transfer.backend, dtype, rows, targets, classes=classes, form=form, X_range=X_range)
    return samples if weight is None else samples.weighted(weight_name, weight[..., None])


def _label_type(y: Any) -> str:
    """Return the data type of predicted labels: that of y, or int64 if y has none."""
    name = type_name(getattr(y, "dtype", ""))
    return name if name in LABEL_TYPES else "int64"


def brought(transfer: Transfer, name: str, x: Any) -> Array:
    """Return data on the network's backend, in its precision; large arrays that are already there keep their type."""
    backend, dtype = transfer.backend, transfer.dtype
    try:
        array = transfer.to_network(name, x) if backend_of(x) != backend else bring(name, x, backend)
    except TypeError as error:
        if name.startswith("y") and isinstance(error.__cause__, HoldsText):
            msg = f"{error}; encode labels as integers from 0, for example with sklearn.preprocessing.LabelEncoder"
            raise TypeError(msg) from None
        raise
    is_large = 8 * math.prod(array.shape) > BLOCK
    return array if is_large or array.dtype == getattr(backend.xp, dtype) else bring(name, array, backend, dtype)


def extent(xp: Any, name: str, array: Array, dtype: str) -> tuple[float, float]:
    """Return the minimum and maximum of an array; raise a ValueError if an entry is not finite in the precision.

    Both checks use two reductions, which need less memory than a mask of finite entries or a converted copy.
    """
    if array.dtype == xp.bool:
        return float(xp.all(array)), float(xp.any(array))
    minimum, maximum = float(xp.min(array)), float(xp.max(array))
    limit = float(xp.finfo(getattr(xp, dtype)).max)
    if not -limit <= minimum <= maximum <= limit:  # with a NaN in the array both are NaN
        msg = f"{name} must be finite, got NaN or infinity (as {dtype}){_first_beyond(array, limit)}"
        raise ValueError(msg)
    return minimum, maximum


def check_finite(xp: Any, name: str, array: Array, dtype: str) -> None:
    """Raise a ValueError if an entry is not finite in the precision."""
    # Entries of a finite sum are finite, which is a single reduction.
    if array.dtype != getattr(xp, dtype) or not math.isfinite(xp.sum(array)):
        extent(xp, name, array, dtype)


def _first_beyond(array: Array, limit: float) -> str:
    """Return the position of the first entry that is NaN or beyond a limit, as text."""
    entries = host.asarray(backend_of(array).to_numpy(array))
    index = [int(axis[0]) for axis in host.nonzero(~(host.abs(entries) <= limit))]
    if len(index) == 2:
        return f", first in row {index[0]}, column {index[1]}"
    return f", first at {index}"


def _has_network_axis(shape: tuple[int, ...], ensemble: int | None, units: int, samples: int | None) -> bool:
    """Return whether a shape is (E, N, ...), one set for each network, and not (N, units, 1)."""
    if ensemble is None or len(shape) != 3 or shape[0] != ensemble:
        return False
    return tuple(shape[1:]) != (units, 1) or (samples is not None and samples == shape[1] != shape[0])


def sample_rows(
    name: str, array: Array, units: int, layer: str, ensemble: int | None = None, samples: int | None = None
) -> Array:
    """Return samples as rows, of shape (N, units), or (E, N, units) if each network has its own samples.

    Parameters
    ----------
    name : str
        The name that errors call the array.
    array : array of shape (N, units), (N, units, 1), or (N,) for one unit
        The samples.
    units : int
        The size of the layer.
    layer : str
        The name of the layer in errors.
    ensemble : int, optional
        The number of networks. An array of shape (E, N, units) is then one set for each network, unless its shape is
        also (N, units, 1).
    samples : int, optional
        The expected number of samples, which distinguishes these shapes.
    """
    shape = tuple(array.shape)
    each = _has_network_axis(shape, ensemble, units, samples)
    if array.ndim not in (1, 2, 3) or (array.ndim == 3 and shape[2] != (units if each else 1)):
        forms = [
            f"(N, {units})",
            f"(N, {units}, 1)",
            *["(N,)"] * (units == 1),
            *[f"({ensemble}, N, {units})"] * bool(ensemble),
        ]
        msg = f"{name} must have the shape {', '.join(forms[:-1])} or {forms[-1]}, got {shape}"
        raise ValueError(msg)
    if 0 in shape:
        msg = f"{name} must not be empty, got the shape {shape}"
        raise ValueError(msg)
    features = shape[-1] if each else shape[1] if array.ndim > 1 else 1
    if features != units:
        fix = f"; use {name}[None, :] for a single sample" if shape == (units,) else ""
        fix = fix or (f"; use {name}.T to make samples rows" if array.ndim == 2 and shape[0] == units else "")
        values = f"{units} value{'s' if units > 1 else ''} per sample, the size of the {layer}"
        msg = f"{name} must have {values}, got {features} in the shape {shape}{fix}"
        raise ValueError(msg)
    return array[:, None] if array.ndim == 1 else array[..., 0] if array.ndim == 3 and not each else array


def _check_labels(xp: Any, name: str, array: Array, classes: int, dtype: str) -> None:
    """Raise a ValueError unless an array holds labels: integers from 0 to classes − 1."""
    minimum, maximum = extent(xp, name, array, dtype)
    if minimum < 0 or maximum > classes - 1 or not _are_integers(xp, array):
        fractions = "" if _are_integers(xp, array) else " with fractions"
        msg = (
            f"{name} of shape {tuple(array.shape)} must hold labels, integers from 0 to {classes - 1} for {classes} "
            f"classes, got values from {minimum:g} to {maximum:g}{fractions}"
        )
        raise ValueError(msg)


def _check_within(
    xp: Any, name: str, array: Array, value_range: tuple[float, float], bounds: tuple[float, float]
) -> None:
    """Raise a ValueError unless targets lie within the bounds of the output activation, up to rounding."""
    minimum, maximum = value_range
    if minimum >= bounds[0] - 1e-6 and maximum <= bounds[1] + 1e-6:
        return
    could_be_labels = array.shape[-1] == 1 and minimum == 0.0 and 1.0 < maximum < 1000.0 and _are_integers(xp, array)
    fix = (
        f"for labels, use {int(maximum) + 1} outputs, one per class, and loss='categorical_crossentropy'; for "
        "regression, scale the targets, or end activations with 'identity'"
        if could_be_labels
        else "scale the targets (labels count from 0), or end activations with 'identity' if the loss allows it"
    )
    msg = (
        f"{name} must be from {bounds[0]:g} to {bounds[1]:g}, the range of the output activation, got values from "
        f"{minimum} to {maximum}; {fix}"
    )
    raise ValueError(msg)


def _are_integers(xp: Any, array: Array) -> bool:
    """Return whether all entries are integers."""
    return not xp.isdtype(array.dtype, "real floating") or bool(xp.all(xp.round(array) == array))


class TrainingData(NamedTuple):
    """The samples of a training.

    Attributes
    ----------
    samples : Samples
        The training samples.
    measured : Samples
        The training samples without class weights, for the metrics.
    held_out : Samples or None
        The validation samples.
    """

    samples: Samples
    measured: Samples
    held_out: Samples | None

    @property
    def backend(self) -> Backend:
        """The backend of the samples."""
        return self.samples.backend

    def first(self, count: int) -> TrainingData:
        """Return the first samples of each."""
        held_out = self.held_out and self.held_out.first(count)
        return TrainingData(self.samples.first(count), self.measured.first(count), held_out)


def bring_training_data(
    transfer: Transfer,
    given: Mapping[str, Any],
    validation_data: Mapping[str, Any],
    settings: Any,
    *,
    validation_split: float,
    class_weight: Any,
) -> TrainingData:
    """Validate training and validation data and return it as samples on the network's backend.

    Parameters
    ----------
    transfer, given, settings
        As for `bring_samples`.
    validation_data : mapping
        As `given`, or empty.
    validation_split : float
        The fraction of the samples that is held out for validation.
    class_weight : mapping of label to weight, "balanced" or None
        The weights of the classes in training.
    """
    with transfer.backend.on_device():
        measured = bring_samples(transfer, given, settings)
        _warn_of_scales(measured)
        held_out = bring_samples(transfer, validation_data, settings) if validation_data else None
        if validation_split:
            measured, held_out = measured.split(validation_split)
        samples = measured
        if class_weight is not None:
            samples = measured.weighted_by_class(class_weight)
    return TrainingData(samples, measured, held_out)


def _warn_of_scales(samples: Samples) -> None:
    """Warn if the scales of the input columns differ so much that the largest dominate."""
    xp, X = samples.backend.xp, samples.X
    if (
        X.shape[-1] == 1 or max(map(abs, samples.X_range)) <= 100.0
    ):  # a fast test, which avoids the reductions per column
        return
    axes = tuple(range(X.ndim - 1))
    columns = (xp.astype(f(X, axis=axes), getattr(xp, samples.dtype)) for f in (xp.max, xp.min))
    scales = host.abs(host.stack([samples.backend.to_numpy(column) for column in columns])).max(axis=0)
    scales = host.where(scales > 0.0, scales, host.nan)  # columns of zeros are ignored
    largest, smallest = float(host.nanmax(scales)), float(host.nanmin(scales))
    if largest > 100.0 and largest > 1000.0 * smallest:
        scale_range = (
            f"{smallest:.3g} (column {int(host.nanargmin(scales))}) to "
            f"{largest:.3g} (column {int(host.nanargmax(scales))})"
        )
        msg = (
            f"the columns of X have very different scales, from {scale_range}; the largest dominate training: scale "
            "the columns first, for example with sklearn.preprocessing.StandardScaler"
        )
        warnings.warn(msg, stacklevel=6)


def named_validation_data(validation_data: Any) -> dict[str, Any]:
    """Return validation data (X, y) or (X, y, sample_weight) by the names that errors call it; empty for None."""
    if validation_data is None:
        return {}
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        given = type(validation_data).__name__
        msg = f"validation_data must be a tuple (X, y) or (X, y, sample_weight), got a {given}"
        raise TypeError(msg)
    names = (f"{name} of validation_data" for name in ("X", "y", "sample_weight"))
    return dict(zip(names, [*validation_data, None], strict=False))
