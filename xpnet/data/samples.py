"""Samples: what to train on, and what to measure it on, as rows, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from reprlib import repr
from typing import Any, NamedTuple

from xpnet._checks import is_number, number_from_zero
from xpnet._types import Array
from xpnet.backends import HOST, Backend, Stream, random_stream

host = HOST.xp

LABEL_TYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64"]
"""What labels may be of."""

BLOCK = 2**24
"""How many bytes are made of samples at a time, where something has to be made of them."""


class Form(NamedTuple):
    """The form of targets, which predictions have too: of one network how many axes, and the type of labels."""

    axes: int
    dtype: str


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as rows, in the types in which they came, and how much each of them counts.

    Whatever takes memory beside them is made for a few of them at a time: see `columns`.

    Attributes
    ----------
    backend : Backend
        Where they are.
    dtype : str
        The precision to compute in.
    X : array of shape (..., rows, n_0)
        The inputs. A leading axis is of networks; without it they share the samples.
    Y : array of shape (..., rows, n_L), or (..., rows, 1) of labels, or None
        The targets.
    weight : array of shape (..., N, 1) or None
        How much each sample counts, 1 on average.
    classes : int or None
        How many classes there are, where the targets are labels.
    chosen : host array of int of shape (N,) or None
        Which of the rows are meant; None for all of them.
    form : Form or None
        The form in which the targets came.
    reach : (float, float)
        The least and the greatest entry of X.
    """

    backend: Backend
    dtype: str
    X: Array
    Y: Array = None
    weight: Array | None = None
    classes: int | None = None
    chosen: Any = None
    form: Form | None = None
    reach: tuple[float, float] = (-math.inf, math.inf)

    @property
    def size(self) -> int:
        """N, how many samples."""
        return int(self.X.shape[-2] if self.chosen is None else self.chosen.shape[0])

    @property
    def outputs(self) -> int:
        """n_L, how many targets a sample has."""
        return int(self.classes or self.Y.shape[-1])

    @property
    def are_ready(self) -> bool:
        """Whether columns of a slice of them are views."""
        dtype = getattr(self.backend.xp, self.dtype)
        precise = all(array.dtype == dtype for array in (self.X, self.Y))
        return precise and self.chosen is None and self.classes is None

    def columns(self, which: Any = slice(None), networks: tuple[Any, ...] = (...,)) -> tuple[Array, Array, Array]:
        """Return X, Y and the weights of some samples with a sample a column, in the precision to compute in.

        Parameters
        ----------
        which : slice, or host array of int of shape (m,) or (networks, m)
            Which samples; an array of two axes has some for each network.
        networks : tuple
            The index of the networks that are meant, where each has samples of its own.

        Returns
        -------
        X, Y, weight : arrays of shape (..., n_0, m), (..., n_L, m) and (..., 1, m), or None
            Labels have become columns of a 1 and zeros.
        """
        X = self._columns(self.X, self._rows(which), networks)
        return X, self.targets(which, networks), self._columns(self.weight, which, networks)

    def targets(self, which: Any, networks: tuple[Any, ...] = (...,)) -> Array:
        """Return the targets of some samples, as `columns` does."""
        Y: Any = self._columns(self.Y, self._rows(which), networks)
        xp = self.backend.xp
        if self.classes is None:
            return Y
        return xp.astype(self.backend.asarray([[c] for c in range(self.classes)], self.dtype) == Y, Y.dtype)

    def _rows(self, which: Any) -> Any:
        return which if self.chosen is None else self.chosen[which]

    def _columns(self, array: Array | None, rows: Any, networks: tuple[Any, ...]) -> Array | None:
        if array is None:
            return None
        backend, xp = self.backend, self.backend.xp
        array = array[networks] if array.ndim > 2 else array
        taken = array[..., rows, :] if isinstance(rows, slice) else backend.take_rows(array, rows)
        dtype = getattr(xp, self.dtype)
        return taken.mT if taken.dtype == dtype else xp.astype(taken.mT, dtype)

    def slices(self, at_once: int | None = None) -> list[slice]:
        """Return the samples as slices of so many, by default as many as take 16 MiB."""
        N = self.size
        if at_once is None:
            networks = max(math.prod(array.shape[:-2]) for array in (self.X, self.Y, self.weight) if array is not None)
            at_once = max(BLOCK // (8 * networks * (self.X.shape[-1] + self.outputs)), 1)
        return [slice(start, min(start + at_once, N)) for start in range(0, N, at_once)]

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """Return two parts, of which the second holds a fraction of the samples, and of those of each class.

        Which ones depends on the number of samples and on their classes alone.
        """
        N = self.size
        validating = round(N * fraction) or 1
        if validating >= N:
            msg = f"validation_split of {fraction:g} leaves nothing to learn from {N} samples"
            raise ValueError(msg)
        order = random_stream(0, Stream.VALIDATION).permutation(N)
        labels = self._labels()
        kept = host.zeros(N, dtype=host.bool)
        kept[order[:validating] if labels is None else _of_each_class(order, labels, validating)] = True
        learned, held_out = (host.nonzero(of)[0] for of in (~kept, kept))
        return self._part(learned, "to learn from"), self._part(held_out, "for validation")

    def _part(self, chosen: Any, purpose: str) -> Samples:
        part = replace(self, chosen=chosen, weight=None)
        if self.weight is None:
            return part
        of = f"the sample_weight of the {part.size} samples {purpose}, which validation_split has chosen among all,"
        weight = self.backend.take_rows(self.weight, chosen)
        return replace(part, weight=of_mean_one(self.backend.xp, of, weight))

    def first(self, count: int) -> Samples:
        """Return the first few samples, without their weights."""
        count = min(count, self.size)
        chosen = HOST.asarray(range(count)) if self.chosen is None else self.chosen[:count]
        return replace(self, chosen=chosen, weight=None)

    def _membership(self, which: slice) -> Array | None:
        """Return columns of a 1 and zeros, which say of what class each sample is, or None if they do not."""
        xp, targets = self.backend.xp, self.targets(which)
        yes = targets == 1.0
        members = xp.concat([~yes, yes], axis=-2) if targets.shape[-2] == 1 else yes
        members = xp.astype(members, targets.dtype)
        # A 1 for the class, and 0 for all others, or −1 where outputs reach down to it.
        two = self.classes is not None or any(bool(xp.all(yes | (targets == other))) for other in (0.0, -1.0))
        return members if two and bool(xp.all(xp.sum(members, axis=-2) == 1.0)) else None

    def _labels(self) -> Any:
        """Return the class of each sample, a host array of shape (N,), or None if they are not of one class each."""
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
        """Return the same samples, weighted by their classes too: a mapping of labels to weights, or "balanced"."""
        backend, xp = self.backend, self.backend.xp
        balanced = isinstance(class_weight, str) and class_weight == "balanced"
        given = None if balanced else _class_weights(class_weight, max(self.outputs, 2), self.dtype)
        count: Any = 0.0
        for which in self.slices():
            members = self._membership(which)
            if members is None:
                msg = "class_weight needs targets that name one class each: labels, or rows of a 1 and zeros"
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
        of = f"class_weight{'' if self.weight is None else ' with sample_weight'}, for the classes that there are,"
        return replace(self, weight=of_mean_one(xp, of, weight))


def _of_each_class(order: Any, labels: Any, count: int) -> Any:
    """Return the first samples of each class in an order, as many as is its part of a number, and so many in all.

    What is left over by rounding goes to the classes with the largest remainders.
    """
    ordered = labels[order]
    classes, sizes = host.unique_counts(ordered)
    shares = sizes * (count / labels.shape[0])
    counts = HOST.asarray(host.floor(shares), "int64")
    counts[host.argsort(counts - shares, stable=True)[: count - int(host.sum(counts))]] += 1
    chosen = [order[ordered == each][:first] for each, first in zip(classes, counts.tolist(), strict=True)]
    return host.concat(chosen)


def of_mean_one(xp: Any, of: str, weight: Array) -> Array:
    """Return weights divided by their mean; errors call them `of`."""
    mean = xp.mean(weight, axis=-2, keepdims=True)
    if not bool(xp.all(xp.isfinite(mean))):
        msg = f"{of} is too great to be added up"
        raise ValueError(msg)
    if not bool(xp.all(mean > 0.0)):
        msg = f"{of} is zero throughout{', for one of the networks' if mean.ndim > 2 else ''}"
        raise ValueError(msg)
    return weight / mean


def _class_weights(value: Any, classes: int, dtype: str) -> list[float]:
    """Return the weights of the classes, 1 for those that are not named."""
    value = value.to_dict() if hasattr(value, "to_dict") else value  # as a series of pandas has
    if not isinstance(value, Mapping):
        msg = f"class_weight must be 'balanced' or a mapping of labels to weights, got {repr(value)}"
        raise TypeError(msg)
    for label in value:
        if not is_number(label) or label not in range(classes):
            msg = f"class_weight names the class {repr(label)}, but the labels are 0 to {classes - 1}"
            raise ValueError(msg)
    return [number_from_zero(f"class_weight[{c}]", value.get(c, 1.0), dtype) for c in range(classes)]
