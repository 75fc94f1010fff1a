"""Data on its way: from where people have it to where a network computes, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from xpnet import validation
from xpnet._types import Array
from xpnet.backends import Backend, Stream, backend_of, get_backend, random_stream


def place_of(**data: Any) -> Backend | None:
    """Return the one backend where the arrays among these arguments live, or None where none of them is an array.

    Raises
    ------
    ValueError
        If they live in two places.
    TypeError
        If one is an array of a library that has no backend.
    """
    places = {}
    for name, x in data.items():
        try:
            backend = backend_of(x)
        except TypeError as error:
            msg = f"{name}: {error}"
            raise TypeError(msg) from None
        if getattr(x, "ndim", 0) > 0:
            places[name] = backend
    for name, place in places.items():
        first = next(iter(places))
        if place != places[first]:
            msg = (
                f"{first} is an array of {places[first].name} on {places[first].device}, but {name} one of "
                f"{place.name} on {place.device}: bring one to the other"
            )
            raise ValueError(msg)
    return next(iter(places.values()), None)


def bring(name: str, x: Any, backend: Backend, dtype: str | None = None) -> Array:
    """Return real data, which the caller calls `name`, as an array of a backend, and of a precision if one is given."""
    source = backend_of(x)
    try:
        array = source.asarray(x)
    except TypeError as error:
        msg = f"{name} cannot be made an array: {error}"
        raise TypeError(msg) from None
    except ValueError as error:
        msg = f"{name} cannot be made an array: {error}"
        raise ValueError(msg) from None
    validation.real_array(source.xp, name, array, x)
    return backend.asarray(array if source.name == backend.name else source.to_numpy(array), dtype)


class Transfer(NamedTuple):
    """Between the backend where the data lives and the one that computes, in its precision."""

    caller: Backend
    backend: Backend
    dtype: str

    def to_network(self, name: str, x: Any) -> Array:
        """Return data of the caller's, who calls it `name`, as an array of the network's."""
        return bring(name, x, self.backend, self.dtype)

    def to_caller(self, array: Array) -> Array:
        """Return a result in the library and on the device of the caller's data."""
        return array if self.caller == self.backend else self.caller.asarray(self.backend.to_numpy(array))

    def samples(
        self,
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
        xp, n_0, n_L = self.backend.xp, layer_list[0], layer_list[-1]
        rows = validation.sample_rows(xp, X_name, self.to_network(X_name, X), n_0, "first layer", ensemble)
        targets, N = self.to_network(y_name, y), int(rows.shape[-2])
        if n_L > 1 and targets.shape and 0 not in targets.shape:
            lead = targets.shape[: 2 if validation.is_one_each(targets.shape, ensemble, n_L, N) else 1]
            if math.prod(targets.shape) == math.prod(lead):
                validation.labels(xp, y_name, targets, n_L)
                targets = xp.reshape(targets, (*lead, 1))
                targets = xp.astype(targets == self.backend.asarray(range(n_L), self.dtype), targets.dtype)
        targets = validation.sample_rows(xp, y_name, targets, n_L, "last layer", ensemble, N)
        if targets.shape[-2] != N:
            msg = f"{X_name} has {N} samples, but {y_name} has {targets.shape[-2]}"
            raise ValueError(msg)
        validation.within(xp, y_name, targets, bounds)
        weight = None
        if sample_weight is not None:
            weight = self.to_network(weight_name, sample_weight)
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


class Samples(NamedTuple):
    """What to learn from, as rows: X (..., N, n_0), Y (..., N, n_L), and the weights of the samples (..., N, 1) or
    None.

    Weights are 1 on average. Leading axes are networks; an array without them is shared.
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
        learned, held_out = sorted(order[validating:]), sorted(order[:validating])
        return self._take(backend, learned), self._take(backend, held_out)

    def _take(self, backend: Backend, numbers: list[int]) -> Samples:
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
            count = xp.sum(members, axis=-2, keepdims=True)
            classes = xp.sum(xp.astype(count > 0.0, count.dtype), axis=-1, keepdims=True)
            each = members.shape[-2] / (classes * xp.maximum(count, 1.0))
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


def member_values(
    name: str, value: Any, ensemble: int | None, check: Callable[[str, Any, str], float], dtype: str
) -> float | list[float]:
    """Return a setting as a number, or for an ensemble as one for each network where an array or list is given."""
    if (
        ensemble is None
        or (not isinstance(value, Sequence) and getattr(value, "ndim", 0) == 0)
        or isinstance(value, str)
    ):
        return check(name, value, dtype)
    place = place_of(**{name: value}) or get_backend("cpu")
    host = place.to_numpy(bring(name, value, place))
    validation.same_shape(f"{name}, with one value for each network,", host, (ensemble,))
    return [check(f"{name}[{i}]", each, dtype) for i, each in enumerate(host.tolist())]
