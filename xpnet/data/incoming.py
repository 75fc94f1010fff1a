"""Data on its way in: what was given, checked, as samples where the network computes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from xpnet._checks import type_name
from xpnet._types import Array
from xpnet.backends import HOST, Backend, HoldsText, backend_of
from xpnet.data.placement import Transfer, bring
from xpnet.data.samples import BLOCK, LABEL_TYPES, Form, Samples, of_mean_one

host = HOST.xp


def bring_samples(transfer: Transfer, given: Mapping[str, Any], settings: Any) -> Samples:
    """Return samples as rows, checked and where the network computes.

    Targets of shape (N,) or (N, 1) for several outputs, or of shape (E, N, 1) for each network of an ensemble, are
    labels.

    Parameters
    ----------
    transfer : Transfer
        From where the data is to where the network computes.
    given : mapping of str to array
        X, y, and the weights of the samples or None, each by the name that errors call it.
    settings : Settings
        Of the network: its `layer_list` and `ensemble`, and the `bounds` within which targets must lie.
    """
    layer_list, ensemble, dtype = settings.layer_list, settings.ensemble, transfer.dtype
    (X_name, X), (y_name, y), (weight_name, sample_weight) = given.items()
    xp, n_0, n_L = transfer.backend.xp, layer_list[0], layer_list[-1]
    rows = sample_rows(X_name, brought(transfer, X_name, X), n_0, "first layer", ensemble)
    reach = extent(xp, X_name, rows, dtype)
    targets, N, classes = brought(transfer, y_name, y), int(rows.shape[-2]), None
    came = tuple(targets.shape)
    if n_L > 1 and targets.shape and 0 not in targets.shape:
        lead = targets.shape[: 2 if _is_one_each(targets.shape, ensemble, n_L, N) else 1]
        if math.prod(targets.shape) == math.prod(lead):
            _check_labels(xp, y_name, targets, n_L, dtype)
            targets, classes = xp.reshape(targets, (*lead, 1)), n_L
    if classes is None:
        targets = sample_rows(y_name, targets, n_L, "last layer", ensemble, N)
        _check_within(xp, y_name, targets, extent(xp, y_name, targets, dtype), settings.bounds)
    elif not settings.bounds[0] <= 0.0 <= 1.0 <= settings.bounds[1]:
        msg = f"{y_name} holds labels, but the activation of the last layer does not reach from 0 to 1"
        raise ValueError(msg)
    if targets.shape[-2] != N:
        msg = f"{X_name} has {N} samples, but {y_name} has {targets.shape[-2]}"
        raise ValueError(msg)
    weight = None
    if sample_weight is not None:
        weight = transfer.to_network(weight_name, sample_weight)
        shapes = [(N,)] if ensemble is None else [(N,), (ensemble, N)]
        if tuple(weight.shape) not in shapes:
            msg = f"{weight_name} must have the shape {' or '.join(map(str, shapes))}, got {tuple(weight.shape)}"
            raise ValueError(msg)
        if extent(xp, weight_name, weight, dtype)[0] < 0.0:
            msg = f"{weight_name} must not be negative"
            raise ValueError(msg)
        weight = of_mean_one(xp, weight_name, weight[..., None])
    form = Form(len(came) - _is_one_each(came, ensemble, n_L, N), _type_of_labels(y))
    return Samples(transfer.backend, dtype, rows, targets, weight, classes, form=form, reach=reach)


def _type_of_labels(y: Any) -> str:
    """Return the type that predicted labels should have, that of y where it is an array."""
    name = type_name(getattr(y, "dtype", ""))
    return name if name in LABEL_TYPES else "int64"


def brought(transfer: Transfer, name: str, x: Any) -> Array:
    """Return data where the network computes: in its precision, but for what is there already and takes much memory."""
    backend, dtype = transfer.backend, transfer.dtype
    try:
        array = transfer.to_network(name, x) if backend_of(x) != backend else bring(name, x, backend)
    except TypeError as error:
        if name.startswith("y") and isinstance(error.__cause__, HoldsText):
            msg = f"{error}: number the labels from 0, as LabelEncoder of scikit-learn does"
            raise TypeError(msg) from None
        raise
    is_large = 8 * math.prod(array.shape) > BLOCK
    return array if is_large or array.dtype == getattr(backend.xp, dtype) else bring(name, array, backend, dtype)


def extent(xp: Any, name: str, array: Array, dtype: str) -> tuple[float, float]:
    """Return the least and the greatest entry, which tell whether all of them are finite in a precision.

    A mask of the finite ones would take an eighth of the data, and a copy of it in the precision as much again.
    """
    if xp.isdtype(array.dtype, "bool"):
        return float(xp.all(array)), float(xp.any(array))
    least, greatest = float(xp.min(array)), float(xp.max(array))
    limit = float(xp.finfo(getattr(xp, dtype)).max)
    if not -limit <= least <= greatest <= limit:  # where there is a NaN, both are NaN
        msg = f"{name} must be finite, got NaN or infinity (as {dtype}){_first_beyond(array, limit)}"
        raise ValueError(msg)
    return least, greatest


def _first_beyond(array: Array, limit: float) -> str:
    """Say where the first entry is that is NaN or beyond a limit."""
    entries = host.asarray(backend_of(array).to_numpy(array))
    index = [int(axis[0]) for axis in host.nonzero(~(host.abs(entries) <= limit))]
    if len(index) == 2:
        return f", first in row {index[0]}, column {index[1]}"
    return f", first at {index}"


def _is_one_each(shape: tuple[int, ...], ensemble: int | None, units: int, samples: int | None) -> bool:
    """Say whether a shape is (E, N, ...), one set for each network, and not the document's (N, units, 1)."""
    if ensemble is None or len(shape) != 3 or shape[0] != ensemble:
        return False
    return tuple(shape[1:]) != (units, 1) or (samples is not None and samples == shape[1] != shape[0])


def sample_rows(
    name: str, array: Array, units: int, layer: str, ensemble: int | None = None, samples: int | None = None
) -> Array:
    """Return samples as rows, of shape (N, units), or (E, N, units) where each network has its own.

    Parameters
    ----------
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
        fix = f": for a single sample {name}[None, :]" if came == (units,) else ""
        fix = fix or (f": samples are rows, as in {name}.T" if array.ndim == 2 and came[0] == units else "")
        msg = f"{name} has the shape {came}, that is {features} a sample, but the {layer} has size {units}{fix}"
        raise ValueError(msg)
    return array[:, None] if array.ndim == 1 else array[..., 0] if array.ndim == 3 and not own else array


def _check_labels(xp: Any, name: str, array: Array, classes: int, dtype: str) -> None:
    """Make sure that an array holds the numbers of classes, counted from 0."""
    least, greatest = extent(xp, name, array, dtype)
    if least < 0 or greatest > classes - 1 or not _are_whole(xp, array):
        msg = (
            f"{name} of shape {tuple(array.shape)} holds labels of {classes} classes, whole numbers from 0 to "
            f"{classes - 1}, but it reaches from {least:g} to {greatest:g} or holds fractions"
        )
        raise ValueError(msg)


def _check_within(xp: Any, name: str, array: Array, reach: tuple[float, float], bounds: tuple[float, float]) -> None:
    """Make sure that targets lie where the last activation can reach, rounding aside."""
    least, greatest = reach
    if least >= bounds[0] - 1e-6 and greatest <= bounds[1] + 1e-6:
        return
    could_be_labels = array.shape[-1] == 1 and least == 0.0 and 1.0 < greatest < 1000.0 and _are_whole(xp, array)
    fix = (
        f"if they are labels, the network needs {int(greatest) + 1} outputs, one for each class, and "
        "loss='categorical_crossentropy'; if they are numbers, scale them, or end activations with 'identity'"
        if could_be_labels
        else "scale the targets (labels count from 0), or end activations with 'identity' where the loss allows it"
    )
    msg = (
        f"{name} reaches from {least} to {greatest}, but the activation of the last layer only from "
        f"{bounds[0]:g} to {bounds[1]:g}: {fix}"
    )
    raise ValueError(msg)


def _are_whole(xp: Any, array: Array) -> bool:
    return not xp.isdtype(array.dtype, "real floating") or bool(xp.all(xp.round(array) == array))


class TrainingData(NamedTuple):
    """What a training learns from, and what it is measured on.

    Attributes
    ----------
    samples : Samples
        To learn from.
    measured : Samples
        The same without the weights of classes, for the metrics.
    held_out : Samples or None
        For validation.
    """

    samples: Samples
    measured: Samples
    held_out: Samples | None

    @property
    def backend(self) -> Backend:
        """Where all of it is."""
        return self.samples.backend

    def first(self, count: int) -> TrainingData:
        """Return the first few samples of each."""
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
    """Warn where the inputs are of so different sizes that the largest alone would be heard."""
    xp, X = samples.backend.xp, samples.X
    if X.shape[-1] == 1 or max(map(abs, samples.reach)) <= 100.0:  # known already, where columns take time
        return
    axes = tuple(range(X.ndim - 1))
    columns = (xp.astype(f(X, axis=axes), getattr(xp, samples.dtype)) for f in (xp.max, xp.min))
    sizes = host.abs(host.stack([samples.backend.to_numpy(column) for column in columns])).max(axis=0)
    sizes = host.where(sizes > 0.0, sizes, host.nan)  # a column of zeros harms nobody
    largest, smallest = float(host.nanmax(sizes)), float(host.nanmin(sizes))
    if largest > 100.0 and largest > 1000.0 * smallest:
        least, most = int(host.nanargmin(sizes)), int(host.nanargmax(sizes))
        of = f"{smallest:.3g} (column {least}) to {largest:.3g} (column {most})"
        msg = (
            f"the inputs in X are of very different sizes, from {of}, and the large ones drown the others: scale the "
            "columns first, for example with StandardScaler of scikit-learn"
        )
        warnings.warn(msg, stacklevel=6)


def named_validation_data(validation_data: Any) -> dict[str, Any]:
    """Return what was given as (X, y) or (X, y, sample_weight) by the names to call it, or nothing."""
    if validation_data is None:
        return {}
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        msg = "validation_data must be a tuple (X, y) or (X, y, sample_weight)"
        raise TypeError(msg)
    names = (f"{name} of validation_data" for name in ("X", "y", "sample_weight"))
    return dict(zip(names, [*validation_data, None], strict=False))
