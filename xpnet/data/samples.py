"""Samples for training and evaluation, as rows with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from reprlib import repr
from typing import Any, NamedTuple

from xpnet._checks import is_number, non_negative_number
from xpnet._types import Array
from xpnet.backends import HOST, Backend, Stream, random_stream

host = HOST.xp

LABEL_TYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64"]
"""The data types that predicted labels can have."""

BLOCK = 2**24
"""The size in bytes of the chunks in which samples are converted."""


class Form(NamedTuple):
    """The form of targets, which predictions take too: the number of axes for one network, and the type of labels."""

    axes: int
    dtype: str


def as_columns(xp: Any, rows: Array, dtype: str) -> Array:
    """Return samples as columns of shape (..., n, m), in the precision to compute in."""
    precision = getattr(xp, dtype)
    return rows.mT if rows.dtype == precision else xp.astype(rows.mT, precision)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as rows, in the data types in which they were passed, with weights.

    They are converted to the precision of the network in chunks, to save memory: see `columns`.

    Attributes
    ----------
    backend : Backend
        The backend of the arrays.
    dtype : str
        The precision to compute in.
    X : array of shape (..., rows, n_0)
        The inputs. A leading axis is that of the networks of an ensemble; without it they share the samples.
    Y : array of shape (..., rows, n_L), or (..., rows, 1) for labels, or None
        The targets.
    weight : array of shape (..., N, 1) or None
        The weights of the samples, with mean 1.
    weight_scale : float or array of shape (1 or E, 1)
        The mean of the weights that were passed, by which they were divided.
    classes : int or None
        The number of classes if the targets are labels.
    chosen : host array of int of shape (N,) or None
        The rows that belong to the samples; None for all rows.
    form : Form or None
        The form in which the targets were passed.
    X_range : (float, float)
        The minimum and maximum of X.
    """

    backend: Backend
    dtype: str
    X: Array
    Y: Array = None
    weight: Array | None = None
    weight_scale: float | Array = 1.0
    classes: int | None = None
    chosen: Any = None
    form: Form | None = None
    X_range: tuple[float, float] = (-math.inf, math.inf)

    @property
    def size(self) -> int:
        """N, the number of samples."""
        return int(self.X.shape[-2] if self.chosen is None else self.chosen.shape[0])

    @property
    def outputs(self) -> int:
        """n_L, the number of targets per sample."""
        return int(self.classes or self.Y.shape[-1])

    @property
    def are_ready(self) -> bool:
        """Whether `columns` of a slice returns views."""
        dtype = getattr(self.backend.xp, self.dtype)
        converted = all(array.dtype == dtype for array in (self.X, self.Y))
        return converted and self.chosen is None and self.classes is None

    def columns(self, which: Any = slice(None), networks: tuple[Any, ...] = (...,)) -> tuple[Array, Array, Array]:
        """Return X, Y and the weights of some samples as columns, in the precision to compute in.

        Parameters
        ----------
        which : slice, or host array of int of shape (m,) or (networks, m)
            The samples; an array with two axes selects samples for each network.
        networks : tuple
            The index of the selected networks, if each network has its own samples.

        Returns
        -------
        X, Y, weight : arrays of shape (..., n_0, m), (..., n_L, m) and (..., 1, m), or None
            Labels are one-hot encoded.
        """
        return self.inputs(which, networks), self.targets(which, networks), self._columns(self.weight, which, networks)

    def inputs(self, which: Any, networks: tuple[Any, ...] = (...,)) -> Array:
        """Return the inputs of some samples as columns, see `columns`."""
        return self._columns(self.X, self._rows(which), networks)

    def targets(self, which: Any, networks: tuple[Any, ...] = (...,)) -> Array:
        """Return the targets of some samples as columns, see `columns`."""
        Y: Any = self._columns(self.Y, self._rows(which), networks)
        xp = self.backend.xp
        if self.classes is None:
            return Y
        return xp.astype(self.backend.asarray([[c] for c in range(self.classes)], self.dtype) == Y, Y.dtype)

    def _rows(self, which: Any) -> Any:
        """Return the rows of some samples."""
        return which if self.chosen is None else self.chosen[which]

    def _columns(self, array: Array | None, rows: Any, networks: tuple[Any, ...]) -> Array | None:
        """Return rows of an array as columns of shape (..., n, m), in the precision to compute in."""
        if array is None:
            return None
        array = array[networks] if array.ndim > 2 else array
        taken = array[..., rows, :] if isinstance(rows, slice) else self.backend.take_rows(array, rows)
        return as_columns(self.backend.xp, taken, self.dtype)

    def slices(self, chunk_size: int | None = None) -> list[slice]:
        """Return slices of `chunk_size` samples each, by default of as many as take 16 MiB."""
        N = self.size
        if chunk_size is None:
            networks = max(math.prod(array.shape[:-2]) for array in (self.X, self.Y, self.weight) if array is not None)
            chunk_size = max(BLOCK // (8 * networks * (self.X.shape[-1] + self.outputs)), 1)
        return [slice(start, min(start + chunk_size, N)) for start in range(0, N, chunk_size)]

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """Return the training samples and the validation samples, a fraction of the samples, stratified by class.

        The split depends only on the number of samples and on their classes.
        """
        N = self.size
        held_out_size = round(N * fraction) or 1
        if held_out_size >= N:
            msg = f"validation_split must leave samples for training, got {fraction:g} of {N} samples"
            raise ValueError(msg)
        order = random_stream(0, Stream.VALIDATION).permutation(N)
        labels = self._labels()
        is_held_out = host.zeros(N, dtype=host.bool)
        is_held_out[order[:held_out_size] if labels is None else _of_each_class(order, labels, held_out_size)] = True
        training, held_out = (host.nonzero(mask)[0] for mask in (~is_held_out, is_held_out))
        return self._part(training, "training"), self._part(held_out, "validation")

    def _part(self, chosen: Any, purpose: str) -> Samples:
        """Return the samples of some rows, with their weights scaled to the mean 1."""
        part = replace(self, chosen=chosen, weight=None)
        if self.weight is None:
            return part
        name = f"sample_weight of the {part.size} {purpose} samples of validation_split"
        return part.weighted(name, self.backend.take_rows(self.weight, chosen))

    def weighted(self, name: str, weight: Array) -> Samples:
        """Return the samples with weights of shape (..., N, 1), divided by their mean; errors call them `name`."""
        xp = self.backend.xp
        mean = xp.mean(weight, axis=-2, keepdims=True)
        if not bool(xp.all(xp.isfinite(mean))):
            msg = f"{name} must have a finite sum, got an overflow"
            raise ValueError(msg)
        if not bool(xp.all(mean > 0.0)):
            msg = f"{name} must not be all zeros{' for any network' if mean.ndim > 2 else ''}"
            raise ValueError(msg)
        scale = self.weight_scale * xp.reshape(mean, (-1, 1))
        return replace(self, weight=weight / mean, weight_scale=scale)

    def first(self, count: int) -> Samples:
        """Return the first samples, without their weights."""
        count = min(count, self.size)
        chosen = HOST.asarray(range(count)) if self.chosen is None else self.chosen[:count]
        return replace(self, chosen=chosen, weight=None)

    def _membership(self, which: slice) -> Array | None:
        """Return one-hot classes of samples, of shape (..., classes, m), or None if the targets are not classes."""
        xp, targets = self.backend.xp, self.targets(which)
        positive = targets == 1.0
        members = xp.concat([~positive, positive], axis=-2) if targets.shape[-2] == 1 else positive
        members = xp.astype(members, targets.dtype)
        # 1 for the class, and 0, or −1 for outputs such as those of tanh, for the other classes.
        binary = self.classes is not None or any(bool(xp.all(positive | (targets == other))) for other in (0.0, -1.0))
        return members if binary and bool(xp.all(xp.sum(members, axis=-2) == 1.0)) else None

    def _labels(self) -> Any:
        """Return the class of each sample, a host array of shape (N,), or None if targets are not one class each."""
        if self.Y.ndim > 2:
            return None
        labels = []
        for which in self.slices():
            members = self._membership(which)
            if members is None:
                return None
            numbers = host.argmax(self.backend.to_numpy(members), axis=-2)
            labels.append(HOST.asarray(numbers, "uint8" if self.outputs < 256 else "int32"))
        return host.concat(labels)

    def weighted_by_class(self, class_weight: Any) -> Samples:
        """Return the samples with weights also by class: a mapping of labels to weights, or "balanced"."""
        backend, xp = self.backend, self.backend.xp
        balanced = isinstance(class_weight, str) and class_weight == "balanced"
        given = None if balanced else _class_weights(class_weight, max(self.outputs, 2), self.dtype)
        count: Any = 0.0
        for which in self.slices():
            members = self._membership(which)
            if members is None:
                msg = "class_weight needs targets with one class per sample: labels or one-hot rows"
                raise ValueError(msg)
            counted = members if self.weight is None else members * self.weight[..., which, :].mT
            count = count + xp.sum(counted, axis=-1, keepdims=True)
        if given is None:
            classes = xp.sum(xp.astype(count > 0.0, count.dtype), axis=-2, keepdims=True)
            each = self.size / (classes * xp.where(count > 0.0, count, 1.0))
        else:
            each = backend.asarray([[weight] for weight in given], self.dtype)
        parts = [xp.sum(self._membership(which) * each, axis=-2, keepdims=True) for which in self.slices()]
        weight = xp.concat(parts, axis=-1).mT
        weight = weight if self.weight is None else self.weight * weight
        name = f"class_weight{'' if self.weight is None else ' times sample_weight'} of the classes in y"
        return self.weighted(name, weight)


def _of_each_class(order: Any, labels: Any, count: int) -> Any:
    """Return `count` samples, from each class in proportion to its size, the first ones in an order.

    The numbers are rounded by the largest remainder method.
    """
    ordered = labels[order]
    classes, sizes = host.unique_counts(ordered)
    shares = sizes * (count / labels.shape[0])
    counts = HOST.asarray(host.floor(shares), "int64")
    counts[host.argsort(counts - shares, stable=True)[: count - int(host.sum(counts))]] += 1
    chosen = [order[ordered == each][:first] for each, first in zip(classes, counts.tolist(), strict=True)]
    return host.concat(chosen)


def _class_weights(value: Any, classes: int, dtype: str) -> list[float]:
    """Return the weights of all classes; the default is 1."""
    value = value.to_dict() if hasattr(value, "to_dict") else value  # such as a pandas Series
    if not isinstance(value, Mapping):
        msg = f"class_weight must be 'balanced' or a mapping of labels to weights, got {repr(value)}"
        raise TypeError(msg)
    for label in value:
        if not is_number(label) or label not in range(classes):
            msg = f"class_weight must have labels from 0 to {classes - 1} as keys, got {repr(label)}"
            raise ValueError(msg)
    return [non_negative_number(f"class_weight[{c}]", value.get(c, 1.0), dtype) for c in range(classes)]
