"""Data on its way: from where people have it to where a network computes, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet._checks import real_array
from xpnet._types import Array
from xpnet.backends import Backend, backend_of


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
        axes = getattr(x, "ndim", 0)
        if isinstance(axes, int) and axes > 0:
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
    except Exception as error:  # whatever NumPy, or what it asks for an array, complains of
        msg = f"{name} cannot be converted to an array: {error}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from error
    real_array(source.xp, name, array, x)
    try:
        return backend.asarray(array if source.name == backend.name else source.to_numpy(array), dtype)
    except (TypeError, ValueError) as error:
        msg = f"{name} cannot be brought to {backend.device} of {backend.name} as {dtype or 'it is'}: {error}"
        raise ValueError(msg) from error


def copied(name: str, x: Any, backend: Backend, dtype: str) -> Array:
    """Return what `bring` does, as an array of its own that shares nothing with the data."""
    with backend.on_device():
        return backend.xp.asarray(bring(name, x, backend, dtype), copy=True)


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
        return array if self.caller == self.backend else bring("the result", array, self.caller)
